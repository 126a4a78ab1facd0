"""Forks beside threads at work: `python tests/tools/forks.py FORKS [--beside NAME,NAME] [--how fork]`. Not collected.

Other threads do, again and again, all of WORK or what `--beside` names; the main thread forks. Each child does all of
WORK, must get the numbers that the parent got when it was alone, and must find nothing left of the threads that it does
not have. A child that has not ended after LIMIT seconds hangs: it is killed, and counts as failed.

`--how fork` is os.fork(); "process" and "forkserver" are multiprocessing's, "pool" is that of concurrent.futures.
"""

import argparse
import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from array import array
from concurrent.futures import ProcessPoolExecutor

import pygrad

LIMIT = 60
POINTS = [0.25 * i for i in range(600)]  # so many samples that the pool has work

weight = pygrad.Value(2.0)
model = pygrad.nn.MLP(2, [3, 1])
for place, parameter in enumerate(model.parameters()):
    parameter.data = 0.1 * place
shared = pygrad.compile(lambda x: (weight * x).tanh(), reduction="sum", threads=3)
bound = shared.bind(0.5)


def compile_and_run():
    f = pygrad.compile(lambda x, y: (x * y + model([x, y])) ** 2)
    hessian = pygrad.compile(pygrad.hessian(lambda v: v[0].erf() * v[1].gelu()), batched=False)
    return f(1.5, 2.5), hessian([0.5, 0.25])


def warn():
    return pygrad.compile(lambda x: x * x.data)(3.0)


def run_in_the_pool():
    own = pygrad.compile(lambda x: (weight * x).sin(), reduction="sum", threads=3)
    return shared(POINTS), own.backward(POINTS, inputs=True)


def fit():
    w = pygrad.Value(0.0)
    f = pygrad.compile(lambda x, y: (w * x - y) ** 2, threads=2)
    return f.fit(pygrad.optim.Adam([w]), POINTS, POINTS, epochs=3, batch_size=200, seed=1), w.data


def step():
    w = [pygrad.Value(float(i)) for i in range(5)]
    optimizer = pygrad.optim.SGD(w, lr=0.1, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        pygrad.functional.logsumexp(w).backward()
        optimizer.step()
    return [v.data for v in w]


def save_and_load():
    f = pygrad.compile(lambda x: model([x, x]))
    f(1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "f")
        f.save(path)
        f.to_c(os.path.join(folder, "f.c"))
        loaded = pygrad.load(path)
    return loaded(2.0), pickle.loads(pickle.dumps(f))(3.0), copy.deepcopy(f)(4.0)


def run_checkpoint():
    x = pygrad.Value(0.5)
    pygrad.checkpoint(lambda v: (v * 2.0).tanh() * v)(x).backward()
    return x.grad


def run_bound():
    bound.forward()
    own = pygrad.compile(lambda v: v[0] * v[1].exp(), batched=False).bind(array("d", [3.0, 0.5]))
    own.backward()
    return bound.output[0], own.output.tolist(), own.gradients.tolist()


def check_for_anomalies():
    x = pygrad.Value(0.0)
    try:
        with pygrad.detect_anomaly():
            x.log()
    except FloatingPointError:
        return "noticed"


def switch_graphs_off():
    with pygrad.no_grad():
        y = weight * 3.0
    return len(y._prev), y.data, len((weight * 3.0)._prev)


def run_closures():
    x = pygrad.Value(3.0)
    y = pygrad.Value(5.0, (x,), "mine")
    y._backward = lambda: setattr(x, "grad", x.grad + 7.0 * y.grad)
    (y * 2.0).backward()
    return x.grad


def draw():
    return len(pygrad.viz.trace((weight * 2.0 + 1.0).tanh())[0])


WORK = [compile_and_run, warn, run_in_the_pool, fit, step, save_and_load, run_checkpoint, run_bound]
WORK += [check_for_anomalies, switch_graphs_off, run_closures, draw]
BY_NAME = {job.__name__: job for job in WORK}
alone = {}  # what each job returns when no other thread runs


def note_results():
    alone.update({job: repr(job()) for job in WORK})


def check_child():
    """Raise AssertionError, or hang, unless this process can do everything and has no trace of another thread."""
    pygrad.engine.check_arena(idle=True)
    for job in WORK:
        assert alone[job] == repr(job()), job.__name__
    assert pygrad.engine.set_trace_hook(None) is None
    gc.collect()
    pygrad.engine.check_arena(idle=True)


def run_child():
    """Do as check_child(), and end this process: with 0 if all was well."""
    signal.alarm(LIMIT)  # ends a process that hangs
    try:
        check_child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def fork():
    child = os.fork()
    if child == 0:
        run_child()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def process(context):
    child = multiprocessing.get_context(context).Process(target=run_child if context == "fork" else run_alone)
    child.start()
    child.join(LIMIT)
    return child.exitcode


def pool():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as workers:
        return len(set(workers.map(check_in_pool, range(2)))) - 1


def check_in_pool(_):
    signal.alarm(LIMIT)
    check_child()
    signal.alarm(0)


def run_alone():
    """What the child of a fork server does: it was forked before anything was noted."""
    note_results()
    run_child()


HOW = {"fork": fork, "process": lambda: process("fork"), "forkserver": lambda: process("forkserver"), "pool": pool}


@contextlib.contextmanager
def beside(jobs, threads=3):
    """Run the block while threads do these jobs; an error of theirs is raised at the end."""
    stop, errors = threading.Event(), []

    def work(number):
        try:
            for i in range(number, sys.maxsize):
                if stop.is_set():
                    return
                jobs[i % len(jobs)]()
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()
        sys.setswitchinterval(before)
    if errors:
        raise errors[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("forks", type=int)
    parser.add_argument("--beside", default=",".join(BY_NAME), help="which jobs the other threads do")
    parser.add_argument("--how", default="fork", choices=HOW)
    given = parser.parse_args()
    jobs = [BY_NAME[name] for name in given.beside.split(",")]
    warnings.simplefilter("ignore")  # of forks beside threads, and of recorded reads
    note_results()
    failed, begun = [], time.monotonic()
    with beside(jobs):
        for number in range(given.forks):
            code = HOW[given.how]()
            if code != 0:
                failed.append((number, code))
    print(f"{given.forks} forks beside {given.beside}: {len(failed)} failed {failed[:5]}")
    print(f"({time.monotonic() - begun:.0f} s)", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
