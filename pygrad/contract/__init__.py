"""What every `Value` does, whichever engine it is of, in Python alone: both proxies and `pygrad.reference` share it."""
