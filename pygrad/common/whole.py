"""Changes that happen wholly or not at all: an exception at any instruction, as Ctrl-C is one, undoes them."""


def set_all(objects, name, new, old):
    """Set the attribute `name` of each object to its entry of `new`; an exception sets all back to `old`."""
    try:
        _set_each(objects, name, new)
    except BaseException:
        _set_each(objects, name, old)
        raise


def _set_each(objects, name, entries):
    for x, entry in zip(objects, entries):
        setattr(x, name, entry)


class restored_on_error:
    """A context manager: an exception in its body gives each of these dicts the entries back that it began with."""

    def __init__(self, *dicts):
        self.dicts, self.before = dicts, [dict(d) for d in dicts]

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is not None:
            for d, before in zip(self.dicts, self.before):
                d.update(before)
                for key in d.keys() - before.keys():
                    del d[key]
