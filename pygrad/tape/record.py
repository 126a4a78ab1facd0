"""Recording a function: run it once on Values, and write its graph down as a tape (csrc/tape/tape.h).

A number that the function reads out of a Value while it is recorded becomes a constant of the tape. Mostly that is a
mistake, so there is a TraceWarning for reading `.data`, for comparing, and for drawing random numbers.
"""

import contextlib
import warnings
from array import array

from pygrad import engine
from pygrad.common import forks
from pygrad.common.caller import caller
from pygrad.common.nested import build_lists
from pygrad.engine import recordings
from pygrad.engine._lib import lib
from pygrad.engine.randomness import random_states
from pygrad.tape.tape import Tape


class TraceWarning(UserWarning):
    """A recording keeps something as it was at that moment, so it will not change when the function runs again."""


def record(function, structures, numbers, passes, watch=True):
    """Call the function with Values of these numbers, one argument for each of `structures`; return its Tape.

    `passes` are bits for the tape's passes. With `watch` False there are no warnings: the function may branch on these
    numbers, and the tape is right for them alone.

    Raises the exceptions of the function, and TypeError if it does not return Values or numbers, or if an operation of
    its graph has a closure or local gradients, so that only Python can run it.
    """
    since = lib.pg_trace_begin()
    try:
        inputs = [engine.Value(number) for number in numbers]
        items = iter(inputs)
        arguments = [build_lists(structure, items) for structure in structures]
        enabled = engine.set_grad_enabled(True)  # the call may be within no_grad()
        try:
            with _Watch({v._pg_id for v in inputs}, since) if watch else contextlib.nullcontext():
                out = function(*arguments)
        finally:
            engine.set_grad_enabled(enabled)
        tape = Tape(inputs, out, since, passes)
        tape.point = array("d", numbers)
        return tape
    finally:
        lib.pg_trace_end()


class _Watch:
    """Warns when a function reads numbers out of Values while it is recorded, and when it draws random numbers.

    One trace hook serves all threads: the first watch sets it, the last one to end restores the one before. Each thread
    has a stack of its watches (pygrad.engine.recordings).
    """

    running, hook_before = set(), None  # of all threads: the watches that have not ended; what hook to restore

    def __init__(self, input_ids, since):
        self.input_ids, self.since, self.told = input_ids, since, set()

    def __enter__(self):
        self.states = random_states()
        with forks.changing:
            if not _Watch.running:
                _Watch.hook_before = engine.set_trace_hook(_tell_of_read)
            _Watch.running.add(self)
        recordings.set_running([*recordings.running(), self])

    def __exit__(self, kind, error, traceback):
        recordings.set_running(recordings.running()[:-1])
        _Watch._end({self})
        states = random_states()
        if kind is None and any(states[name] != state for name, state in self.states.items()):
            warn_here(
                "the function drew random numbers while it was recorded: every run will use these. Draw them outside, "
                "and pass them as arguments"
            )

    @staticmethod
    def _end(watches):
        """End these watches; with the last one of all, restore the trace hook."""
        with forks.changing:
            _Watch.running -= watches
            if watches and not _Watch.running:
                engine.set_trace_hook(_Watch.hook_before)

    @staticmethod
    def forget_other_threads():
        """End the watches of the threads that the child of a fork does not have."""
        _Watch._end(_Watch.running.difference(recordings.running()))


forks.in_child(_Watch.forget_other_threads)


def _tell_of_read(value, what):
    """Warn of a read during a recording: the trace hook."""
    running = recordings.running()
    if not running:
        return
    watch, id = running[-1], value._pg_id
    # Any read counts, but for that of a leaf (its id is negative) that the function itself has made.
    if id > 0 or id in watch.input_ids or not lib.pg_made_since(watch.since, id):
        _tell(_READS[what], watch.told)


_ADVICE = "; pygrad.where, maximum, minimum, take and less are recorded"
_READS = {
    "data": f"reading .data of a Value that is being recorded keeps the number of this one run{_ADVICE}",
    "item()": f"item() of a Value that is being recorded keeps the number of this one run{_ADVICE}",
    "detach()": "detach() of a Value that is being recorded keeps the number of this one run: use pygrad.stop_gradient",
    "a comparison": f"a comparison of a Value that is being recorded is decided now, once for all runs{_ADVICE}",
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
