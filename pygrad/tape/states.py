"""The state of a compiled function: all that a file or a pickle keeps of it, as a dict of plain numbers and text.

pygrad.tape.files writes states as bytes, and reads them.
"""

from array import array

from pygrad import engine
from pygrad.engine._lib import lib
from pygrad.tape import files
from pygrad.tape.loaded import Loaded
from pygrad.tape.recorded import parameters_of
from pygrad.tape.tape import Tape


def state_of(compiled, tapes):
    """Return the state of a compiled function with these recordings, {key: Tape}."""
    visible = parameters_of(tapes.values())
    places = {p._pg_id: i for i, p in enumerate(visible)}
    for tape in tapes.values():  # and leaves whose Values are gone
        for id in tape.parameter_ids:
            places.setdefault(id, len(places))
    return {
        "name": compiled.__name__,
        "signature": files.signature_entry(compiled.function),
        "reduction": "none" if compiled._is_module and compiled.reduction is None else compiled.reduction,
        "batched": compiled.batched if isinstance(compiled.batched, bool) else [bool(b) for b in compiled.batched],
        "threads": int(compiled.threads),
        **({"one_sample": True} if compiled.is_of_one_sample else {}),
        **({"static": list(compiled.reading.static)} if compiled.reading.static else {}),
        "passes": list(compiled.passes),
        **files.max_recordings_entry(compiled.max_recordings),
        "visible": len(visible),
        "numbers": array("d", map(lib.pg_data, places)),
        "tapes": [
            {
                **tape.state(),
                "arguments": structures,
                "parameters": array("i", [places[id] for id in tape.parameter_ids]),
            }
            for structures, tape in tapes.items()
        ],
    }


def restored(kind, state, source, values=None):
    """Return the `kind`, Compiled, whose state this was, over these Values or new ones; errors name the `source`."""
    numbers, visible = state["numbers"], state["visible"]
    values = [engine.Value(number) for number in numbers[:visible]] if values is None else list(values)
    if len(values) != visible:
        raise ValueError(f"{source} is of a function with {visible} parameters, not {len(values)}")
    values += [engine.Value(number) for number in numbers[visible:]]
    structures = [tape["arguments"] for tape in state["tapes"]]
    function = Loaded(state["name"], files.signature(state["signature"]), structures, state["static"])
    options = {name: state[name] for name in ("reduction", "batched", "threads", "passes", "static")}
    out = kind(function, **options, max_recordings=None)
    out.is_of_one_sample = state["one_sample"]
    try:
        for tape in state["tapes"]:
            loaded = Tape.from_state(tape, state["ops"], values, visible, out._passes)
            out._tapes.put(tape["arguments"], loaded)
            function.tapes[tape["arguments"]] = loaded
    except ValueError as error:
        raise ValueError(files.refusal(source, error)) from None
    out._tapes.most = state["max_recordings"]  # now, for none of the recordings may go
    return out
