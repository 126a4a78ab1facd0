"""The states of the global random generators: compare them to notice a draw, wind them back to repeat it."""

import functools
import random
import sys

_python = random.getstate.__self__  # the generator behind random.random() and its like


def random_states():
    """Return the state of the global generator of Python, and of NumPy's if NumPy has been imported, in a dict."""
    states = {"random": random.getstate()}
    # Another thread may be importing NumPy just now: the module is there, and has no generator yet.
    get_state = getattr(sys.modules.get("numpy.random"), "get_state", None)
    if get_state:
        import pickle  # here, for its import takes a while; NumPy has imported it too

        states["numpy"] = pickle.dumps(get_state(legacy=False))
    return states


def has_drawn(states):
    """True if a global generator was drawn from since random_states() returned `states`.

    NumPy loads its generator at the first draw. One that was loaded since then is new if its position is 623 or 624.
    """
    now = random_states()
    if "numpy" in now and "numpy" not in states:
        return now["random"] != states["random"] or sys.modules["numpy.random"].get_state()[2] not in (623, 624)
    return now != states


def repeated(states, run):
    """Return run(); for it the generators go on from `states`, and then they are as before. None: they just go on."""
    if states is None:
        return run()
    before = random_states()
    gauss_next, set_python, set_numpy = before["random"][2], _set_python(before), _set_numpy(before)
    try:
        _python.gauss_next = states["random"][2]
        _set_python(states)()
        _set_numpy(states)()
        return run()
    finally:  # an attribute and two calls of C, which Ctrl-C comes between only behind the first call
        _python.gauss_next = gauss_next
        try:
            set_python()
        finally:
            set_numpy()


def _set_python(states):
    """Return a function of C that sets the state of Python's generator, but for gauss_next."""
    return functools.partial(super(random.Random, _python).setstate, states["random"][1])


def _set_numpy(states):
    """Return a function of C that sets the state of NumPy's generator, if there is one."""
    if "numpy" not in states:
        return dict
    import pickle

    return functools.partial(sys.modules["numpy.random"].set_state, pickle.loads(states["numpy"]))
