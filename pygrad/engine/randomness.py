"""The states of the global random generators: compare them to notice a draw, set them to repeat it."""

import random
import sys


def random_states():
    """Return the state of the global generator of Python, and of NumPy's if NumPy has been imported, in a dict."""
    states = {"random": random.getstate()}
    # Another thread may be importing NumPy just now: the module is there, and has no generator yet.
    get_state = getattr(sys.modules.get("numpy.random"), "get_state", None)
    if get_state:
        import pickle  # here, for its import takes a while; NumPy has imported it too

        states["numpy"] = pickle.dumps(get_state(legacy=False))
    return states


def set_random_states(states):
    """Wind the generators back to the states that `random_states` returned."""
    random.setstate(states["random"])
    if "numpy" in states:
        import pickle

        sys.modules["numpy.random"].set_state(pickle.loads(states["numpy"]))
