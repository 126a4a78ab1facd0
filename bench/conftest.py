"""What all benchmarks share: the garbage collector is off while one runs, and a result says how it was made."""

import gc

import pytest


@pytest.fixture(autouse=True)
def no_gc():
    """Collect before and after, never within, and hide from the collector what was there before."""
    gc.collect()
    gc.freeze()  # so that freeing micrograd's graphs, which takes the collector, searches those graphs only
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()
    gc.collect()


@pytest.fixture
def size(benchmark):
    """Return the function that cuts a size down when benchmarks are disabled: all runs once, and small."""
    return (lambda n: n) if benchmark.enabled else (lambda n: min(n, 2_000))


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["command"] = "pytest " + " ".join(config.invocation_params.args)
