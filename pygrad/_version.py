"""The version of pygrad: the compiled part must have the same one."""

__version__ = "0.1.0"
