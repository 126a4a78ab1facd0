"""Run a training step on both proxies under valgrind; fail if memory of ours is lost or misused (`make valgrind`)."""

import os
import re
import shutil
import subprocess
import sys

PROGRAM = """
import gc, random, weakref
from pygrad import engine, nn
random.seed(1)
model = nn.MLP(3, [4, 4, 1], activation="tanh")
for _ in range(20):
    loss = engine.sum([(model([0.5, -1.0, float(i)]) - 1.0) ** 2 for i in range(4)])
    out = engine.Value(loss.data, (loss,), "custom")
    def backward():
        loss.grad += out.grad
    out._backward = backward
    out.backward()
    engine.sum([out] * 2000).backward()
    for p in model.parameters():
        p.data -= 0.01 * p.grad
    model.zero_grad()
    middle = model([1.0, 2.0, 3.0]) * 2.0
    root = (middle + 1.0) * middle
    middle.later, seen = [root], weakref.ref(middle)
    assert middle in root._prev
    del middle, root
    gc.collect()
    assert seen() is None
engine.check_arena()
"""
OURS = re.compile(r"\bpg_\w+ \(|\(in [^)]*\b_native\.")  # the other binary is in part cffi's
KEPT_BY_CFFI = "lib_build_cpython_func"  # at the first use of a function of C, for ever


def main():
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    for proxy in ("native", "python"):
        check(proxy)
    print("valgrind: nothing of ours is lost")


def check(proxy):
    command = ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "PYGRAD_PROXY": proxy}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    blocks = re.split(r"\n==\d+== \n", done.stderr)
    lost = [block for block in blocks if "lost in loss record" in block and KEPT_BY_CFFI not in block]
    ours = [block for block in lost if OURS.search(block)]
    errors = [
        block for block in blocks if re.search(r"Invalid (read|write)|uninitialised", block) and OURS.search(block)
    ]
    if done.returncode or ours or errors:
        sys.exit("\n".join([*ours, *errors]) or done.stderr)


if __name__ == "__main__":
    main()
