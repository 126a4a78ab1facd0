"""What a program is told whose function fails while it is recorded: most often it is written for the whole batch.

Python's own errors know nothing of batches. Here the cure is added to their messages; error and traceback stay.
"""

_OF_NUMBERS = ("iterable", "subscriptable", "has no len()", "item assignment", "reversible", "container", "a list")
_SIGNS = {  # of an error -> what its message has if the function takes one sample for a batch
    ValueError: ("the input has length", "values to unpack", "need as many targets", "sequences of one length"),
    IndexError: ("index out of range",),
    AttributeError: ("attribute 'shape'", "attribute 'T'", "attribute 'mean'", "attribute 'sum'"),
}
_MISSING = "required positional argument"
_ARRAY_INDEX = "only integers, slices"  # NumPy's error for an index that is a Value


def explained(leaves, function, *arguments):
    """Return function(*arguments), which calls a program's function for one sample; `leaves` are those of a `Call`.

    An error of Python's that says nothing of its cause gets the cure added to its message.
    """
    try:
        return function(*arguments)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        if type(error).__module__ == "builtins" and len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (error.args[0] + _cure(error, leaves),)
        raise


def _cure(error, leaves):
    text = error.args[0]
    if "one sample" in text:  # it was raised within another recording, and has the cure
        return ""
    if not leaves and _MISSING in text:
        return "; backward and fit take the arguments of a call: loss.backward(X, y) in place of loss(X, y).backward()"
    if _ARRAY_INDEX in text:
        return "; an item whose place is a Value: pygrad.take(xs, v) in place of xs[v]"
    if isinstance(error, AttributeError) and "'list'" in text:
        return _of_samples(leaves) + "; numpy.array(x) makes an array of a list of Values"
    return _of_samples(leaves) if _is_of_batch(error, text) else ""


def _of_samples(leaves):
    """Return the cure of a function for the whole batch; "" if none of these leaves is a batch."""
    samples = [leaf for leaf in leaves if leaf.samples is not None]
    if not samples:
        return ""
    return (
        f"; the function runs for one sample at a time, and {samples[0].name} holds {samples[0].samples} of them: "
        "write it for one sample, or compile it with batched=False, then it gets its arguments whole"
    )


def _is_of_batch(error, text):
    if type(error) is TypeError:  # of a Value, the number of one sample, where a list was expected
        return "Value" in text and any(sign in text for sign in _OF_NUMBERS) or "must support iteration" in text
    return any(sign in text for kind, signs in _SIGNS.items() if isinstance(error, kind) for sign in signs)
