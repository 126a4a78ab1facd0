"""pygrad's entries of compiled.py, once and small: is the answer of each right? compiled.py itself takes the times."""

import ours
import pytest
import rows

EACH_ROW = pytest.mark.parametrize("row", ours.ENTRIES)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Cut the rows of a million down."""
    monkeypatch.setattr(rows, "MANY", 2_000)
    rows.points.cache_clear()
    yield
    rows.points.cache_clear()


def run_of(row):
    """Return pygrad's Run, of a few steps if it is of many."""
    few = {"steps": 3} if row in ours.LOSSES else {"epochs": 1} if row == rows.GPT else {}
    return ours.ENTRIES[row](**few)


@EACH_ROW
def test_the_answer_is_right(row):
    """A fresh run's first call has the answer of eager code, or of a closed form."""
    rows.check_run(row, run_of(row))


@EACH_ROW
def test_a_wrong_answer_gets_no_time(row):
    """A gradient, or the parameter that it moved, that is off by a hair is noticed."""
    run = run_of(row)
    right = run.numbers

    def bent(out):
        *others, last = right(out)
        return [*others, last * 1.001 + 1e-6]

    run.numbers = bent
    with pytest.raises(AssertionError, match="wrong answer"):
        rows.check_run(row, run)


def test_each_row_has_its_entry():
    """Wherever there is a row, pygrad has something to show."""
    assert set(rows.ROWS) == set(ours.ENTRIES)
