"""A function recorded once, and run in C ever after: `pygrad.compile` and what it returns."""
