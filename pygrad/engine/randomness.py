"""The global random generators: read, so that a draw within a function is noticed, and wound back."""

import random
import sys


def random_states():
    """Return the states of the global generators of Python, and of NumPy if it is there."""
    states, numpy = {"random": random.getstate()}, sys.modules.get("numpy")
    if numpy:
        import pickle  # here, for its import takes a while

        states["numpy"] = pickle.dumps(numpy.random.get_state(legacy=False))
    return states


def set_random_states(states):
    """Wind the generators back to what `random_states` returned."""
    random.setstate(states["random"])
    if "numpy" in states:
        import pickle

        sys.modules["numpy"].random.set_state(pickle.loads(states["numpy"]))
