"""A compiled function in Values: its Python function is called sample by sample, and the results are reduced.

It serves where numbers will not do: an argument holds Values, or the function runs within another one that is recorded
or transformed, and finds the arguments of that one around it.
"""

from pygrad import engine
from pygrad.common.arrays import items as items_of
from pygrad.common.arrays import number_in
from pygrad.common.nested import MOST_LEVELS, build_lists, count, flatten, or_lists, plain
from pygrad.common.numbers import describe
from pygrad.common.parts import Record, Static
from pygrad.tape.call import apply


class ValuesLeaf:
    """A leaf of an argument that may hold Values: as `pygrad.tape.arguments.Argument`, with `rows` in place of memory.

    rows  the items of each sample; of one that all samples share there is one row
    """

    def __init__(self, given, name, is_batch=True):
        self.name, self.samples, self._what = name, None, f"{name} must be Values, numbers or lists of them, not"
        if engine.is_value(given) or number_in(given, name) is not None:
            self.structure, self.rows = None, [[self._item(given)]]
            return
        samples = items_of(given, name) if is_batch else [given]
        self.rows, structures = [[] for _ in samples], set()
        for sample, row in zip(samples, self.rows):
            structures.add(plain(flatten(sample, row, or_lists(self._item), MOST_LEVELS)))
        if len(structures) != 1:
            raise ValueError(f"{name} is ragged: its samples have several shapes" if structures else f"{name} is empty")
        [self.structure] = structures
        self.samples = len(samples) if is_batch else None

    def _item(self, x):
        number = x if engine.is_value(x) else number_in(x, self.name)
        if number is None:
            raise TypeError(f"{self._what} {describe(x)}")
        return as_value(number)

    def row(self, sample):
        return self.rows[sample if len(self.rows) > 1 else 0]


def as_value(x):
    return x if engine.is_value(x) else engine.Value(x)


def run(function, key, rows, reduction_of):
    """Call the function with each row of items; return the results, reduced as `reduction_of(structure)` says."""
    found, structure = [], None
    for row in rows:
        found.append([])
        structure = plain(flatten(apply(function, key, iter(row)), found[-1], or_lists(as_value)))
    reduction = reduction_of(structure)
    if reduction == "none":
        return of_samples(found, structure)
    divisor = len(found) if reduction == "mean" else 1.0
    return build_lists(structure, iter([engine.sum(column) / divisor for column in zip(*found)]))


def of_samples(rows, structure):
    """Return the Values of samples, a list for each, shaped as `pygrad.tape.run.of_samples` shapes numbers."""
    if type(structure) is Static:
        return structure.value
    if type(structure) is not Record:
        return [build_lists(structure, iter(row)) for row in rows]
    made, first = [], 0
    for part in structure.parts:
        end = first + count(part)
        made.append(of_samples([row[first:end] for row in rows], part))
        first = end
    return structure.make(made)
