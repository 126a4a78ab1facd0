"""What `import micrograd` finds in the processes that a script under `pygrad run` starts: it leads to pygrad.

Only this folder is in front of their sys.path (`pygrad.compat.install_in_workers`).
"""

import sys

from pygrad import compat

del sys.modules[__name__]  # pygrad takes this place
compat.install_as_micrograd()
