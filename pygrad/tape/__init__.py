"""Functions that are recorded once and then run in C: `pygrad.compile`, and `Compiled`, the class it returns."""
