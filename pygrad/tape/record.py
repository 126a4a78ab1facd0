"""Recording a function: run it once on Values, and write its graph down as a tape (csrc/tape/tape.h).

A number that the function reads out of a Value while it is recorded becomes a constant of the tape. Mostly that is a
mistake, so there is a TraceWarning for reading `.data`, for comparing, and for drawing random numbers.
"""

import warnings
from array import array

from pygrad import engine
from pygrad.common.caller import caller
from pygrad.engine import cells, recordings
from pygrad.engine._lib import lib
from pygrad.engine.modes import with_graphs
from pygrad.engine.randomness import has_drawn, random_states
from pygrad.tape.call import apply
from pygrad.tape.tape import Tape


class TraceWarning(UserWarning):
    """A recording keeps something as it was at that moment, so it will not change when the function runs again."""


def record(function, key, numbers, passes, watch=True):
    """Call the function with Values of these numbers, in arguments of the structures in `key`; return its Tape.

    `passes` are bits for the tape's passes. With `watch` False there are no warnings: the function may branch on these
    numbers, and the tape is right for them alone.

    Raises the exceptions of the function, and TypeError if it does not return Values or numbers, or if an operation of
    its graph has a closure or local gradients, so that only Python can run it.
    """
    with cells.trace() as trace:
        since = trace.moment
        del trace
        inputs = [engine.Value(number) for number in numbers]
        if watch:
            out = with_graphs(_watched, function, key, inputs, since)
        else:
            out = with_graphs(recordings.call, apply, (function, key, iter(inputs)), inputs)
        tape = Tape(inputs, out, since, passes)
        tape.point = array("d", numbers)
    return tape


def _watched(function, key, inputs, since):
    """Call the function; warn when it reads numbers out of Values, and if it has drawn random numbers."""
    watcher, states = _Watcher({v._pg_id for v in inputs}, since), random_states()
    with cells.recording() as recording:
        recordings.watch(recording.moment, watcher)
        recordings.register(recording, inputs)
        del recording
        out = apply(function, key, iter(inputs))
    if has_drawn(states):
        warn_here(
            "the function drew random numbers while it was recorded: every run will use these. Draw them outside, "
            "and pass them as arguments"
        )
    return out


class _Watcher:
    """Warns when a function reads numbers out of Values while it is recorded."""

    def __init__(self, input_ids, since):
        self.input_ids, self.since, self.told = input_ids, since, set()

    def tell(self, value, what):
        id = value._pg_id
        # Any read counts, but for that of a leaf (its id is negative) that the function itself has made.
        if id > 0 or id in self.input_ids or not lib.pg_made_since(self.since, id):
            self.note(what)

    def note(self, what):
        """Warn of something that is done now, for all runs."""
        _tell(_NOTES[what], self.told)


_ADVICE = "; pygrad.where, maximum, minimum, take and less are recorded"
_LARGEST = f"{_ADVICE}; functional.softmax, log_softmax and logsumexp subtract the largest number themselves"
_GRADIENT = "use pygrad.grad(y, xs, create_graph=True), or pygrad.gradient of a function"
_NOTES = {
    "data": f"reading .data of a Value that is being recorded keeps the number of this one run{_LARGEST}",
    "hash()": f"a set or dict finds a Value that is being recorded by identity, and not by its number{_ADVICE}",
    "bool()": f"the truth of a Value that is being recorded is decided now, once for all runs{_ADVICE}",
    "format()": f"the number of a Value that is being recorded was written as text, for this one run{_ADVICE}",
    "item()": f"item() of a Value that is being recorded keeps the number of this one run{_LARGEST}",
    "detach()": "detach() of a Value that is being recorded keeps the number of this one run: use pygrad.stop_gradient",
    "_prev =": "_prev of a Value that is being recorded was emptied: the Value keeps the number of this one run; use "
    "pygrad.stop_gradient",
    "a comparison": f"a comparison of a Value that is being recorded is decided now, once for all runs{_LARGEST}",
    "grad": f"reading .grad in a function that is being recorded keeps the number of this one run; {_GRADIENT}",
    "_local_grads": f"_local_grads of a Value that is being recorded are numbers of this one run; {_GRADIENT}",
    "backward()": f"backward() in a function that is being recorded runs now, and in no later run; {_GRADIENT}",
    "data =": "setting .data in a function that is being recorded is done now, and in no later run; use new Values, or "
    "set it outside",
    "grad =": "setting .grad in a function that is being recorded is done now, and in no later run; set it outside",
    "a step": "an optimizer step in a function that is being recorded is taken now, and in no later run; compile the "
    "loss, and step outside, or call its fit()",
    "a bound run": "a bound function was run while another one was recorded: its result is kept",
    "backward": "backward() of a compiled function was called while another one was recorded: its result is kept",
    "fit": "fit() was called while a function was recorded: it trains now, and in no later run",
}


def _tell(message, told):
    """Warn, but once only for a line of the program and a message; `told` is the set of warnings so far."""
    place = caller()
    if (place, message) not in told:
        told.add((place, message))
        warnings.warn_explicit(message, TraceWarning, *place, registry={})


def warn_here(message):
    """Warn, and name the line of the user's program that is running."""
    warnings.warn_explicit(message, TraceWarning, *caller(), registry={})
