"""`python -m pygrad` is the `pygrad` command."""

import sys

from pygrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
