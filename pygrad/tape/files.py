"""Compiled functions in files and pickles: all their tapes as plain numbers, and no code.

The parts of a file, all little-endian:

    prelude   magic, version, length of the header, length of the body, SHA-256 of header and body: `_PRELUDE`
    header    JSON: options, structures, and how many numbers of each kind there are
    body      the parameters' numbers, then the arrays of each tape, in the sequence of `_ARRAYS`

The reader trusts no part of a file: sizes must add up, and csrc/tape/image.c checks each tape before it can run. In
memory the content is a *state*, a dict with the header's entries and the arrays. pygrad.tape.states makes a state of a
`Compiled`, and a `Compiled` of a state.
"""

import itertools
import os
import struct
import sys
from array import array

from pygrad._version import __version__
from pygrad.common import forks
from pygrad.common.nested import count, in_words, is_of_lists
from pygrad.common.numbers import shown
from pygrad.common.parts import Record, Static, dict_record
from pygrad.common.whole_files import open_to_read, write_whole
from pygrad.engine.optable import CODES, NAMES
from pygrad.tape.call import is_keywords, keywords_record, split
from pygrad.tape.kept import MAX_RECORDINGS
from pygrad.tape.tape import PASSES

VERSION = 1
REDUCTIONS = ("mean", "sum", "none")
_MAGIC = b"\x89pygrad\n"
_PRELUDE = struct.Struct("<8sIIQ32s")
_DEEPEST = 200  # brackets within brackets of a header
_ARRAYS = {"parameters": "i", "outputs": "i", "words": "i", "point": "d", "numbers": "d"}  # of one tape


def describe(key):
    """Return the structures of a function's arguments in words, such as "(number, [number, number])"."""
    by_place, keywords = split(key)
    named = [f"{name}={in_words(structure)}" for name, structure in keywords.items()]
    return f"({', '.join([*map(in_words, by_place), *named])})"


# --- files ------------------------------------------------------------------------------------------------------------


def save(state, path):
    """Write a state to the file `path`: see `write_whole`.

    Raises OSError if the file cannot be written, and ValueError if the state's structures are too deep.
    """
    write_whole(path, pack(state))


def read(path):
    """Return the state in the file `path`.

    Raises ValueError if the file is damaged, cut, of another version or no file of a compiled function, and OSError if
    it cannot be read.
    """
    with open_to_read(path) as file:
        prelude = file.read(_PRELUDE.size)
        size = _check_prelude(prelude, str(path))
        if size != os.fstat(file.fileno()).st_size - _PRELUDE.size:
            raise ValueError(f"{path} is damaged: it is cut, or something was added to it")
        return unpack(prelude + file.read(size), str(path))


def pack(state):
    """Return a state as the bytes of a file."""
    header, arrays = {**state, "tapes": []}, [state["numbers"]]
    header["numbers"] = len(state["numbers"])
    for tape in state["tapes"]:
        header["tapes"].append({**tape, **{name: len(tape[name]) for name in _ARRAYS}})
        arrays += [tape[name] for name in _ARRAYS]
    header["ops"] = NAMES
    with forks.importing:
        import json  # here, as other imports in functions: `import pygrad` is to be quick

    text = json.dumps(header, separators=(",", ":"), default=_entry).encode()
    if _depth(text) > _DEEPEST:
        raise ValueError(f"lists nested {_DEEPEST} deep, as arguments or as result, cannot be saved")
    body = b"".join(map(_to_bytes, arrays))
    digest = _checksum(text + body)
    return _PRELUDE.pack(_MAGIC, VERSION, len(text), len(body), digest) + text + body


def unpack(blob, source):
    """Return the state in the bytes `blob`, with tuples for lists. A ValueError calls the blob `source`."""
    if _check_prelude(blob[: _PRELUDE.size], source) != len(blob) - _PRELUDE.size:
        raise ValueError(f"{source} is damaged: it is cut, or something was added to it")
    *_, header_size, _, digest = _PRELUDE.unpack_from(blob)
    content = memoryview(blob)[_PRELUDE.size :]
    if digest != _checksum(content):
        raise ValueError(f"{source} is damaged: its contents do not match their checksum")
    try:
        state = _header(_parse(bytes(content[:header_size])))
        _fill_arrays(state, content[header_size:])
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(refusal(source, f"{type(error).__name__}: {error}")) from error
    return state


def pack_apart(state):
    """Return (a state as bytes, the structures that bytes cannot keep): for a pickle, which keeps any object."""
    tapes, apart = [], []
    for i, tape in enumerate(state["tapes"]):
        key, output = tape["arguments"], tape["output"]
        is_simple = all(map(is_of_lists, key)) and is_of_lists(output)
        apart.append(None if is_simple else (key, output))
        flat = {"arguments": (Static(i), (None,) * len(tape["point"])), "output": (None,) * len(tape["outputs"])}
        tapes.append(tape if is_simple else {**tape, **flat})
    return pack({**state, "tapes": tapes}), apart


def unpack_apart(blob, apart, source):
    """Return the state that `pack_apart` had; in older pickles nothing is apart."""
    state = unpack(blob, source)
    apart = [None] * len(state["tapes"]) if apart is None else apart
    if len(apart) != len(state["tapes"]):
        raise ValueError(refusal(source, "it has not as many structures as tapes"))
    for tape, structures in zip(state["tapes"], apart):
        if structures is not None:
            tape["arguments"], tape["output"] = structures
    return state


def _checksum(content):
    with forks.importing:
        import hashlib

    return hashlib.sha256(content).digest()


def _parse(text):
    """Return the JSON in `text`. Its depth is checked first: Python's recursion limit may have been raised too high."""
    if _depth(text) > _DEEPEST:
        raise ValueError("it is nested too deep")
    with forks.importing:
        import json

    return json.loads(text.decode())  # of bytes, json would also read UTF-16, whose brackets _depth does not see


def _depth(text):
    with forks.importing:
        import re

    brackets = re.sub(rb'"(?:[^"\\]|\\.)*"|[^][{}"]', b"", text)
    return max(itertools.accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def refusal(source, why):
    """Return the message for a state that has the right checksum but contradicts itself; `why` says how."""
    return f"{source} is damaged, or was not written by pygrad: {why}"


def _check_prelude(prelude, source):
    """Check the prelude; return how many bytes must follow it."""
    if prelude[: len(_MAGIC)] != _MAGIC[: max(1, len(prelude))]:
        raise ValueError(f"{source} is no file of a compiled function of pygrad")
    if len(prelude) < _PRELUDE.size:
        raise ValueError(f"{source} is damaged: it is cut")
    _, version, header_size, body_size, _ = _PRELUDE.unpack(prelude)
    if version != VERSION:
        newer = "by a newer pygrad, " if version > VERSION else ""
        raise ValueError(f"{source} was written {newer}in format {version}; pygrad {__version__} reads {VERSION}")
    return header_size + body_size


# --- arrays -----------------------------------------------------------------------------------------------------------


def _to_bytes(numbers):
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _from_bytes(typecode, data):
    numbers = array(typecode)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _fill_arrays(state, body):
    """Replace each length of an array in the state by the array. First the lengths must add up to the body's size."""
    wanted = [(state, "numbers", "d")]
    wanted += [(tape, name, code) for tape in state["tapes"] for name, code in _ARRAYS.items()]
    sizes = [_whole(entries[name], name) * array(code).itemsize for entries, name, code in wanted]
    if sum(sizes) != len(body):
        raise ValueError("its sizes do not add up")
    at = 0
    for (entries, name, code), size in zip(wanted, sizes):
        entries[name] = _from_bytes(code, body[at : at + size])
        at += size
    for tape in state["tapes"]:
        _check_tape(tape, len(state["numbers"]))


def _check_tape(tape, parameter_count):
    if len(tape["point"]) != sum(map(count, tape["arguments"])) or len(tape["outputs"]) != count(tape["output"]):
        raise ValueError("the sizes of a tape do not fit its structures")
    indices = tape["parameters"]
    if len(set(indices)) != len(indices) or not all(0 <= i < parameter_count for i in indices):
        raise ValueError("a parameter of a tape is none of the function's, or is there twice")


# --- the header -------------------------------------------------------------------------------------------------------


def _header(header):
    """Return a state from the header: checked, with tuples for lists, lengths for arrays, and no unknown entries."""
    state = {name: _typed(header[name], kinds, name) for name, kinds in _OPTIONS.items()}
    state["batched"], state["threads"] = _batched(header["batched"]), _whole(header["threads"], "threads")
    state["one_sample"] = _typed(header.get("one_sample", False), (bool,), "one_sample")
    state["static"] = [_typed(name, (str,), "static") for name in _typed(header.get("static", []), (list,), "static")]
    state["visible"], state["numbers"] = _whole(header["visible"], "visible"), _whole(header["numbers"], "numbers")
    state["max_recordings"] = _max_recordings(header.get("max_recordings", MAX_RECORDINGS))
    if state["visible"] > state["numbers"]:
        raise ValueError("it has fewer parameters than it says")
    signature(state["signature"])
    unknown = [name for name in state["passes"] if name not in PASSES]
    if unknown or state["reduction"] not in (None, *REDUCTIONS):
        raise ValueError("it has a pass or a reduction that is unknown here")
    state["ops"] = [CODES.get(_typed(name, (str,), "ops"), -1) for name in header["ops"]]
    state["tapes"] = [_tape_header(tape) for tape in _typed(header["tapes"], (list,), "tapes")]
    if len({tape["arguments"] for tape in state["tapes"]}) < max(1, len(state["tapes"])):
        raise ValueError("it has no tape, or two for the same arguments")
    return state


_OPTIONS = {
    "name": (str,),
    "signature": (list, type(None)),
    "reduction": (str, type(None)),
    "passes": (list,),
}


def _tape_header(header):
    tape = {"arguments": _structure(_typed(header["arguments"], (list,), "arguments"))}
    tape["output"], tape["constants"] = _structure(header["output"]), _whole(header["constants"], "constants")
    return {**tape, **{name: header[name] for name in _ARRAYS}}


def _typed(entry, kinds, name):
    if type(entry) not in kinds:
        raise ValueError(f"its entry {name!r} is of the wrong kind")
    return entry


def _whole(entry, name):
    if type(entry) is not int or not 0 <= entry < 2**31:
        raise ValueError(f"its entry {name!r} is no size")
    return entry


def max_recordings_entry(most):
    """Return this entry of a header, a dict. The default is left out, as files had no such entry at first."""
    return {} if most == MAX_RECORDINGS else {"max_recordings": most}


def _max_recordings(entry):
    if entry == 0:
        raise ValueError("it keeps no recordings")
    return None if entry is None else _whole(entry, "max_recordings")


def _batched(entry):
    if type(entry) is list:
        return tuple([_typed(item, (bool,), "batched") for item in entry])
    return _typed(entry, (bool,), "batched")


# --- structures: null for a number, a list for a list, an object for the rest -----------------------------------------


def _entry(part):
    """Return the entry of a Record or Static. ValueError if a file cannot keep it."""
    if type(part) is Static:
        return {"static": _static_entry(part.value)}
    if type(part) is Record and part.kind[1] is dict:
        keys = [_static_entry(name) for name in part.names]
        return {"keywords" if is_keywords(part) else "keys": keys, "parts": part.parts}
    raise ValueError(
        f"a file keeps lists and dicts, but cannot keep the structure {in_words(part)}: of a namedtuple pass "
        "x._asdict(), of a dataclass dataclasses.asdict(x)"
    )


def _static_entry(x):
    if type(x) is float:
        return {"float": x.hex()}
    if x is None or type(x) in (bool, str, int):
        return x
    raise ValueError(
        f"a file cannot keep the static argument {shown(x)}: it keeps bool, None, str and numbers. Pickle the compiled "
        "function instead, or compile a function that has this argument already"
    )


def _structure(entry):
    if entry is None:
        return None
    if type(entry) is list:
        return tuple([_structure(item) for item in entry])
    entry = _typed(entry, (dict,), "structure")
    if {*entry} == {"static"}:
        return Static(_static(entry["static"]))
    names = {*entry} - {"parts"}
    if names not in ({"keys"}, {"keywords"}):
        raise ValueError("a structure is of the wrong kind")
    [kind] = names
    keys, parts = _typed(entry[kind], (list,), kind), _typed(entry["parts"], (list,), "parts")
    if len(keys) != len(parts):
        raise ValueError("a structure has not as many parts as names")
    make = keywords_record if kind == "keywords" else dict_record
    return make([_static(key) for key in keys], [_structure(part) for part in parts])


def _static(entry):
    if type(entry) is dict and {*entry} == {"float"}:
        return float.fromhex(_typed(entry["float"], (str,), "float"))
    return _typed(entry, (bool, str, int, type(None)), "static")


# --- signatures -------------------------------------------------------------------------------------------------------


def signature_entry(function):
    """Return [name, kind, has a default] of each parameter, for the header; None if the function has no signature."""
    with forks.importing:
        import inspect  # here, for its import takes a while

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, p.default is not p.empty] for p in parameters]


def signature(entry):
    """Return a signature that binds keywords as the saved function did. ValueError, TypeError, KeyError if damaged."""
    with forks.importing:
        import inspect  # here, for its import takes a while

    if entry is None:
        return inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_POSITIONAL)])
    kinds = {kind.name: kind for kind in type(inspect.Parameter.POSITIONAL_ONLY)}
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=None if has_default else inspect.Parameter.empty)
            for name, kind, has_default in entry
        ]
    )
