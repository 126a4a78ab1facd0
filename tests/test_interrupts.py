"""Ctrl-C anywhere leaves a whole state: a bounded run of tests/tools/interrupts.py, which says what is checked."""

import subprocess
import sys
from pathlib import Path

import pytest

from pygrad import config

TOOL = Path(__file__).parent / "tools" / "interrupts.py"
pytestmark = pytest.mark.python


@pytest.mark.parametrize("half", [1, 2])
def test_no_interrupt_leaves_a_half_state(half):
    """Interrupts over all entry points, other ones in each half: no fault."""
    proxy = config()["proxy"]
    options = ["--count", "1000", "--seed", str(half), "--part", f"{half}/2", "--proxy", proxy]
    done = subprocess.run([sys.executable, TOOL, *options], capture_output=True, text=True, timeout=600)

    assert 0 == done.returncode, done.stdout + done.stderr
