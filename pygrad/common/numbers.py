"""Which objects are numbers: one rule for both engines; and how messages name an object."""

import contextlib
import math
import numbers
import operator
import random
from decimal import Decimal

# An operand of these types is a mistake, not a foreign type with an operator of its own: `v + "1"` must be refused.
_REFUSED = (type(None), str, bytes, bytearray, numbers.Complex, list, tuple, dict)


MOST_EXACT = 2**53  # a float can hold each integer up to this one


def is_number(x):
    """True for a real scalar: int, float, bool, Fraction, Decimal, a NumPy real scalar."""
    if type(x) is float or type(x) is int:
        return True
    if isinstance(x, (float, int, numbers.Real, Decimal)):
        return type(x).__name__ != "timedelta64"  # NumPy calls a duration an integer
    return _is_numpy_bool(x)


def is_like_number(x):
    """True for a number, a complex one too, and for an object without dimensions that may hold one."""
    return is_number(x) or isinstance(x, complex) or getattr(x, "ndim", None) == 0 or hasattr(type(x), "as_py")


def to_float(x, what="a Value's data"):
    """Return the number `x` as a float; it may be in an array or tensor without dimensions.

    Raises TypeError if it is none, OverflowError if it is too large, and ValueError if it is a signaling nan.
    Each names `what`, and says what to do instead.
    """
    if type(x) is float:
        return x
    if is_number(x) or is_number(x := item_in(x, what)):
        return _as_float(x, what)
    raise TypeError(f"{what} must be a real number, not {describe(x)}{_advice(x)}")


def to_exact(x, what):
    """Return the number `x` as a float, as `to_float` does. Raises TypeError too for an int that no float is equal to.

    Data has such integers as names of things: rounded, two of them would be one.
    """
    if type(x) is float:
        return x
    x = x if is_number(x) else item_in(x, what)
    number = to_float(x, what)
    if isinstance(x, numbers.Integral) and int(x) != number:
        raise TypeError(
            f"{what} holds the integer {shown(int(x))}, and no float is equal to it: convert it to float where it may "
            "be rounded; where integers are names, pass their places in a list"
        )
    return number


def item_in(x, name):
    """Return what is in an array or tensor without dimensions, or in a scalar of pyarrow; any other object as it is.

    Raises TypeError, which begins with `name`, as `refuse_unread` does, and if the item cannot be read.
    """
    if hasattr(type(x), "as_py"):
        return x.as_py()
    if getattr(x, "ndim", None) != 0 or not (hasattr(x, "item") or hasattr(x, "__array__")):
        return x
    refuse_unread(x, name)
    if getattr(getattr(x, "dtype", None), "kind", None) in ("m", "M"):
        return x[()]  # a date or duration of NumPy: its item() may be a mere int
    try:
        return x.item() if hasattr(x, "item") else x.__array__().item()
    except Exception as error:  # a tensor of a recorded function of PyTorch or JAX, say
        raise TypeError(f"{name} cannot be read, for {describe(x)} says: {shortened(error)}") from error


def refuse_unread(x, name):
    """Raise TypeError for a masked or sparse array, and a tensor whose gradient would be lost."""
    kind = type(x)
    if hasattr(kind, "filled") and hasattr(kind, "mask"):
        raise TypeError(f"{name} is a masked array: say what stands in its gaps, with .filled(...)")
    is_torchs = hasattr(kind, "is_sparse") and "sparse" in str(getattr(x, "layout", ""))
    if is_torchs or hasattr(kind, "nnz") or hasattr(kind, "nse"):
        dense = [method for method in ("toarray", "todense", "to_dense") if hasattr(x, method)]
        raise TypeError(f"{name} is a sparse array, {describe(x)}: pass all its numbers, as .{dense[0]}() returns them")
    if hasattr(kind, "detach") and getattr(x, "requires_grad", False):
        raise TypeError(
            f"{name} is a tensor that requires a gradient, and pygrad would give it none: pass its numbers alone, as "
            ".detach() returns them"
        )


def _as_float(x, what):
    try:
        number = float(x)
    except OverflowError:  # 10**400
        number = math.inf
    except ValueError:
        if isinstance(x, Decimal) and x.is_snan():
            raise ValueError(f"{what} is a signaling nan, {describe(x)}: pass math.nan instead") from None
        raise
    if abs(number) == math.inf and x != number:
        raise OverflowError(f"{what} is too large for a float, {describe(x)}: the largest one is 1.8e308") from None
    return number


def operand(x):
    """Return the other operand of an operator as a float.

    Return NotImplemented for a foreign type: it may have an operator of its own. Raises TypeError for an operand that
    can only be a mistake.
    """
    if type(x) is float:
        return x
    if is_number(x):
        return _as_float(x, "an operand")
    if isinstance(x, _REFUSED) or hasattr(x, "_prev"):  # a Value of another engine has `_prev`
        raise TypeError(f"an operand must be a Value or a real number, not {describe(x)}{_advice(x)}")
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array_ufunc__"):  # PyTorch's, JAX's: none of them takes Values
        return _in_tensor(x)
    return operand(x.as_py()) if hasattr(type(x), "as_py") else NotImplemented  # pyarrow's scalars


def _in_tensor(x):
    """Return the number in a tensor without dimensions. Raises TypeError for any other tensor."""
    if getattr(x, "requires_grad", False):
        advice = "it would get no gradient, use x.detach()"
    elif x.ndim:
        advice = "for one result an element use numpy.asarray(x)"
    elif is_number(number := item_in(x, "an operand")):
        return _as_float(number, "an operand")
    else:
        advice = "pygrad has no complex numbers, use x.real or abs(x)"
    raise TypeError(f"an operand must be a Value or a real number, not {describe(x)}; {advice}")


def describe(x):
    """Name `x` in an error message: its type, and its value where that is short."""
    text = repr(x[:30] if isinstance(x, (str, bytes)) else x) if isinstance(x, (str, bytes, complex)) else ""
    return f"{type(x).__name__} {text}" if 0 < len(text) <= 30 else type(x).__name__


def shortened(text, most=200):
    """Return `text` for an error message: of a long one the beginning, the end, and how much is left out."""
    text = str(text)
    cut = len(text) - most
    return text if cut <= 0 else f"{text[: most // 2]} … ({cut} more characters) … {text[-most // 2 :]}"


def shown(x):
    """Return repr(x) for an error message, shortened."""
    try:
        return shortened(repr(x))
    except ValueError:  # an int with more digits than Python writes
        return describe(x)


def _advice(x):
    if isinstance(x, (str, bytes, bytearray)):
        return "; convert it first, for example with float(...)"
    if type(x).__name__ == "timedelta64":
        return "; divide it by its unit first, as in x / numpy.timedelta64(1, 's')"
    if isinstance(x, numbers.Complex):
        return "; pygrad has no complex numbers, use x.real or abs(x)"
    if isinstance(x, (list, tuple, dict)):
        repeated = "; a repeated list needs an int: int(v.data), or a static= argument" if isinstance(x, list) else ""
        return f"; make one Value per number, for example [Value(x) for x in xs]{repeated}"
    if hasattr(x, "_prev"):
        return "; use it as it is, or its .data for a new leaf"
    if hasattr(x, "item"):
        return "; use x.item() for one number, or [Value(x) for x in xs.tolist()]"
    return ""


def _is_numpy_bool(x):
    return type(x).__module__ == "numpy" and type(x).__name__ in ("bool", "bool_")


def to_whole(x, what, least):
    """Return `x` as an int. Raises TypeError if it is not a whole number, ValueError if it is less than `least`."""
    try:
        number = operator.index(x)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, not {describe(x)}") from None
    if number < least:
        raise ValueError(f"{what} must be at least {least}, not {shown(number)}")
    return number


def generator(seed):
    """Return a `random.Random` of a seed: None, a number, a str or bytes. Raises TypeError for any other."""
    with contextlib.suppress(TypeError):
        seed = operator.index(seed)  # of a NumPy integer too
    if not isinstance(seed, (type(None), int, float, str, bytes, bytearray)):
        raise TypeError(f"a seed must be None, a number, a str or bytes, not {describe(seed)}")
    return random.Random(seed)
