"""The line of the user's program that is running now, for warnings and errors to name."""

import os
import sys

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = ("numpy", "copy", "dataclasses")  # they call methods of Values on the program's behalf
_DEMOS = os.path.join(_PACKAGE, "demos") + os.sep  # their lines count as a user's program


def caller():
    """Return (file, line) of the innermost frame that is neither pygrad's nor of `_LIBRARIES`."""
    frame = user_frame()
    return frame.f_code.co_filename, frame.f_lineno


def user_frame():
    """Return this frame."""
    frame = sys._getframe(1)
    while frame.f_back and _is_library(frame):
        frame = frame.f_back
    return frame


def is_within_pygrad(*modules):
    """True if pygrad's own code is what called these modules, the names of files that only ask for others."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE) and _name(frame) in modules:
        frame = frame.f_back
    file = frame.f_code.co_filename
    return file.startswith(_PACKAGE) and not file.startswith(_DEMOS)


def _name(frame):
    return os.path.basename(frame.f_code.co_filename).removesuffix(".py")


def _is_library(frame):
    file = frame.f_code.co_filename
    ours = file.startswith(_PACKAGE) and not file.startswith(_DEMOS)
    return ours or frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES
