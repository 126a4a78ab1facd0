"""Let `import micrograd` find pygrad, as PyMySQL does for MySQLdb."""

import sys


def install_as_micrograd():
    """From now on `import micrograd`, `micrograd.engine` and `micrograd.nn` give pygrad's modules.

    Call it before anything imports micrograd: it is a RuntimeError if the real one is loaded already.
    A second call is harmless.
    """
    import pygrad
    from pygrad import engine, nn

    stand_ins = {"micrograd": pygrad, "micrograd.engine": engine, "micrograd.nn": nn}
    for name, module in stand_ins.items():
        if sys.modules.get(name, module) is not module:
            raise RuntimeError(
                f"{name} is imported already: call pygrad.install_as_micrograd() before its first import"
            )
    sys.modules.update(stand_ins)
