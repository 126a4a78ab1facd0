"""What NumPy's functions ask the items of an object array for: `np.arctan(array)` calls `item.arctan()`.

Methods of Value have Python's names, those of `math`; where NumPy has another one, or the function is made of
operations that pygrad has, the method of NumPy's name is here. A function that pygrad does not have is refused, with
what to write. (Functions that take no objects at all, such as `np.isnan`, NumPy refuses without asking.)
"""

import math


class OfArrays:
    """A base of ValueBase: methods by the names of NumPy's functions."""

    __slots__ = ()

    def arcsin(self):
        """np.arcsin: see `asin`."""
        return self.asin()

    def arccos(self):
        """np.arccos: see `acos`."""
        return self.acos()

    def arctan(self):
        """np.arctan: see `atan`."""
        return self.atan()

    def arcsinh(self):
        """np.arcsinh, the inverse of `sinh`: its derivative is 1 / sqrt(1 + self**2)."""
        # Of |x|, as long as its square is finite: log1p(x + x*x / (1 + sqrt(1 + x*x))), where nothing cancels. Then
        # it grows as log(x) does.
        sign = 1.0 - 2.0 * self.less(0.0)
        x, most = sign * self, 1e150
        near = x.minimum(most)
        more = near * (near / (1.0 + (1.0 + near * near).sqrt()))
        return sign * ((near + more).log1p() + (x.maximum(most) / most).log())

    def arccosh(self):
        """np.arccosh, the inverse of `cosh`: its derivative is 1 / sqrt(self**2 - 1). Below 1 it is nan."""
        x = self - 1.0
        return (x + x.sqrt() * (x + 2.0).sqrt()).log1p()

    def arctanh(self):
        """np.arctanh, the inverse of `tanh`: its derivative is 1 / (1 - self**2). Outside [-1, 1] it is nan."""
        return 0.5 * (self.log1p() - (-self).log1p())

    def exp2(self):
        """np.exp2: 2.0 ** self."""
        return 2.0**self

    def log2(self):
        """np.log2: see `log`."""
        return self.log() / math.log(2.0)

    def log10(self):
        """np.log10: see `log`."""
        return self.log() / math.log(10.0)

    def deg2rad(self):
        """np.deg2rad, np.radians: self * pi / 180."""
        return self * (math.pi / 180.0)

    def rad2deg(self):
        """np.rad2deg, np.degrees: self * 180 / pi."""
        return self * (180.0 / math.pi)

    radians, degrees = deg2rad, rad2deg

    def fabs(self):
        """np.fabs: see `abs`."""
        return self.abs()

    def conjugate(self):
        """np.conjugate: the Value itself, for it is real."""
        return self


_ROUNDED = "it has no gradient; use v.data for the number"
_CURES = {  # what each function that is refused would do, or what to write instead
    "arctan2": "write (y / x).atan(), and add pi or -pi where x < 0",
    "hypot": "write (a*a + b*b).sqrt()",
    "cbrt": "write v ** (1/3), for v > 0",
    "rint": _ROUNDED,
    "fmod": _ROUNDED,
    "logical_xor": "it has no gradient; compare numbers, v.data",
    "bit_count": "it is of integers; use v.data for the number",
}


def _refused(name, cure):
    def method(self, *_):
        raise TypeError(f"np.{name} of a Value: pygrad has no such operation; {cure}")

    method.__name__, method.__qualname__ = name, f"OfArrays.{name}"
    method.__doc__ = f"Raise a TypeError: pygrad has no such operation; {cure}."
    return method


for _name, _cure in _CURES.items():
    setattr(OfArrays, _name, _refused(_name, _cure))
