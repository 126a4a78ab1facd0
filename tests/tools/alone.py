"""Run a function of a test module in a process of its own: a crash of it is then a failed test."""

import functools
import inspect
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.path[:0] = {path!r}
import {module}
{module}.{name}.__wrapped__()
"""


def alone(function):
    """Decorate a test without arguments: it runs in a new process, which afterwards checks the arena."""

    @functools.wraps(function)
    def run():
        source = Path(inspect.getfile(function))
        path = [str(source.parent), str(Path(__file__).parent)]
        program = PROGRAM.format(path=path, module=source.stem, name=function.__name__)
        program += "from pygrad import engine\nengine.check_arena()\nprint('done')\n"
        command = [sys.executable, "-X", "faulthandler", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", ""), done.stderr

    return run
