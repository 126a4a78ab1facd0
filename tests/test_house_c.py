"""The plan of the house is kept in C: includes go down only, without circles, and a header is implemented by its unit.

A unit is all files of a folder that share the beginning of their name: engine/node.h and engine/node.c; tape/lanes.h,
tape/lanes.c and tape/lanes_avx2.c.
"""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent / "csrc"
FILES = {p.relative_to(CSRC).as_posix(): p.read_text(encoding="utf-8") for p in sorted(CSRC.rglob("*.[ch]"))}

# From the ground up: who stands later may include who stands earlier. csrc/ itself (mem, ops, ...) is below all rooms.
ROOMS = ["", "engine", "tape", "calculus", "python"]
ANYWHERE = {"check.c": "verifies everything from outside"}

pytestmark = pytest.mark.skipif(not FILES, reason="runs in a source checkout")


def _room(name):
    return name.rpartition("/")[0]


def _unit(name):
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.split('.')[0].split('_')[0]}"


INCLUDES = {
    name: {found for found in re.findall(r'^#include "([^"]+\.h)"', text, re.MULTILINE) if found in FILES}
    for name, text in FILES.items()
    if name not in ANYWHERE
}


def test_includes_go_down():
    """No room includes a header of one above it; the native proxy, which is above all, only those of the engine."""
    rooms = [(name, _room(name), _room(found)) for name, names in INCLUDES.items() for found in names]
    upward = [(name, to) for name, room, to in rooms if ROOMS.index(to) > ROOMS.index(room)]

    assert [] == upward
    assert {"", "engine", "python"} >= {to for _, room, to in rooms if room == "python"}


def test_no_circle_of_units():
    """Taking away what includes nothing that is left, all units go."""
    left = {}
    for name, names in INCLUDES.items():
        left.setdefault(_unit(name), set()).update({_unit(found) for found in names} - {_unit(name)})
    while done := [unit for unit, found in left.items() if not found & left.keys()]:
        left = {unit: found for unit, found in left.items() if unit not in done}

    assert {} == left


@pytest.mark.parametrize("header", [name for name in FILES if name.endswith(".h") and name != "pygrad.h"])
def test_a_header_is_implemented_by_its_unit(header):
    """Each pg_ function that a header declares is defined in the .c file of the same name."""
    declared = re.findall(r"^(?!typedef|static)\w[\w ]*[ *](pg_\w+)\([^;{]*\);", FILES[header], re.MULTILINE)
    implementation = FILES.get(header[:-1] + "c", "")
    missing = [name for name in declared if not re.search(rf"^\w.*\b{name}\([^;]*\n\{{", implementation, re.MULTILINE)]

    assert [] == missing
