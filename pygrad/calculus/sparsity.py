"""The pattern of a Jacobian: the entries that can be other than 0, and the rows or columns to compute together."""

from array import array
from itertools import accumulate, chain

from pygrad.engine import cells
from pygrad.engine._lib import ffi, lib
from pygrad.engine.errors import check


class Pattern:
    """The entries of an m x n Jacobian that may be other than 0: row i has them in columns[starts[i]:starts[i + 1]].

    `row_steps` is the cost of all rows one by one: for each output the number of operations that it depends on.
    `column_steps` is the cost of all columns: for each input the number of operations that depend on it. (It is not
    counted, but inf, if the rows cost at most two passes over the tape.)
    """

    def __init__(self, tape):
        found = cells.new_pattern()
        check(lib.pg_pattern_find(tape.handle, found), of="the pattern of a Jacobian")
        self.shape = m, n = tape.output_count, tape.input_count
        self.columns = array("i", bytes(ffi.buffer(found.columns, 4 * found.count)))
        self.starts = array("i", bytes(ffi.buffer(found.starts, 4 * (m + 1))))
        self.row_steps, self.column_steps = found.row_steps, found.column_steps

    def keep_columns(self, columns):
        """Keep these columns only, in this sequence."""
        m, n = self.shape
        if list(columns) == list(range(n)):
            return
        place = {j: k for k, j in enumerate(columns)}
        rows = [sorted(place[j] for j in row if j in place) for row in self.rows()]
        self.shape, self.columns = (m, len(place)), array("i", chain.from_iterable(rows))
        self.starts = array("i", accumulate(map(len, rows), initial=0))

    def is_full(self):
        """True if every entry may be other than 0."""
        return len(self.columns) == self.shape[0] * self.shape[1]

    def rows(self):
        """Return the columns of each row, in a list of arrays."""
        return [self.columns[a:b] for a, b in zip(self.starts, self.starts[1:])]

    def row_colors(self):
        """Return a color for each row: rows of one color have no column in common; see `colors`."""
        return range(self.shape[0]) if self.is_full() else colors(self.rows(), self.shape[1])

    def column_colors(self):
        """Return a color for each column: columns of one color have no row in common."""
        return range(self.shape[1]) if self.is_full() else colors(self.by_columns(), self.shape[0])

    def row_of_each(self):
        """Return the row of each entry, in an array as long as `columns`."""
        sizes = (b - a for a, b in zip(self.starts, self.starts[1:]))
        return array("i", chain.from_iterable([i] * size for i, size in enumerate(sizes)))

    def by_columns(self):
        """Return the rows of each column, in a list of arrays."""
        found = [array("i") for _ in range(self.shape[1])]
        for i, j in zip(self.row_of_each(), self.columns):
            found[j].append(i)
        return found


def colors(lines, others):
    """Return a color, 0, 1, ..., for every line, such that lines of one color have no number in common.

    A line is a list of numbers from 0 to `others` - 1. Greedy: the longest line first, each with the lowest free color.
    (Gebremedhin, Manne and Pothen, What color is your Jacobian?, SIAM Review 47, 2005.)
    """
    used, found = [0] * others, array("i", bytes(4 * len(lines)))  # used: for each number, its lines' colors as bits
    for i in sorted(range(len(lines)), key=lambda i: -len(lines[i])):
        taken = 0
        for j in lines[i]:
            taken |= used[j]
        color = (~taken & (taken + 1)).bit_length() - 1  # the lowest that is not taken
        found[i] = color
        for j in lines[i]:
            used[j] |= 1 << color
    return found
