"""What each `Value` does, in pure Python: shared by both proxies and `pygrad.reference`."""
