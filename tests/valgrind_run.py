"""Run a training step under valgrind and fail if memory that our C code asked for is lost (`make valgrind`)."""

import os
import re
import shutil
import subprocess
import sys

PROGRAM = """
import gc, random
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
engine.check_arena()
"""


def main():
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    command = ["valgrind", "--leak-check=full", "--show-leak-kinds=definite", sys.executable, "-c", PROGRAM]
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    blocks = re.split(r"\n==\d+== \n", done.stderr)
    ours = [block for block in blocks if "lost in loss record" in block and re.search(r"\bpg_\w+ \(", block)]
    errors = [block for block in blocks if re.search(r"Invalid (read|write)|uninitialised", block) and " pg_" in block]
    if done.returncode or ours or errors:
        sys.exit("\n".join([*ours, *errors]) or done.stderr)
    print("valgrind: nothing of ours is lost")


if __name__ == "__main__":
    main()
