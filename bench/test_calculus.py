"""pygrad's entries of calculus.py, once and small: is the answer of each right? calculus.py itself takes the times."""

import calculus
import numpy as np
import pytest


@pytest.mark.parametrize("name", ["compiled", "pygrad"])
def test_hessians_are_right(name):
    """Of Rosenbrock's function, by its formula."""
    function, x = calculus.CALLS[name]()
    found = np.array(function(x))
    calculus.check_hessian(found)
    found[3, 4] *= 1.001
    with pytest.raises(AssertionError):
        calculus.check_hessian(found)


@pytest.mark.parametrize("make", [calculus.pygrad_raw, calculus.pygrad_band, calculus.pygrad_sweep])
def test_raw_calls_are_right(make, monkeypatch):
    """After one call the answer is there; one of another point is refused."""
    monkeypatch.setattr(calculus, "BAND", 50)
    call, check = make()
    call()
    check()
    monkeypatch.setattr(calculus, "band_point", lambda: [1.0] * 50)
    monkeypatch.setattr(calculus, "POINT", [1.0] * 100)
    with pytest.raises(AssertionError):
        check()
