"""What all tests share: both engines, a watch on the arena, and how hard hypothesis tries.

Every test that asks for `engine` runs twice, on `pygrad.engine` and on `pygrad.reference`: one contract, two engines.
After each test, garbage collected, the C arena must hold as many nodes as before the test, and its checker must find
every invariant intact. So no test may leak, whatever else it is about.

HYPOTHESIS_PROFILE = brief | default | ci | expensive sets the number of random programs; "expensive" also runs tests
marked so. The other markers (pyproject.toml) say in which of the Makefile's runs a test has its place.
"""

import gc
import importlib
import os

import pytest
from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")

settings.register_profile("default", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("brief", settings.get_profile("default"), max_examples=25)
settings.register_profile("ci", settings.get_profile("default"), max_examples=400, derandomize=True, print_blob=True)
settings.register_profile("expensive", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items):
    # Large graphs' memory stays with the arena: each check of it takes some 20 ms from then on.
    items.sort(key=lambda item: item.get_closest_marker("large") is not None)
    if PROFILE != "expensive":
        for item in items:
            if item.get_closest_marker("expensive"):
                item.add_marker(pytest.mark.skip(reason="needs HYPOTHESIS_PROFILE=expensive"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note on the test whether it failed: the traceback of a failed test keeps its Values alive."""
    report = yield
    item.failed = getattr(item, "failed", False) or report.failed
    return report


@pytest.fixture(
    scope="session", params=["pygrad.engine", pytest.param("pygrad.reference", marks=pytest.mark.reference)]
)
def engine(request):
    """Each engine in turn: a module with `Value`, `sum`, `dot`, `minimum` and `maximum`."""
    return importlib.import_module(request.param)


@pytest.fixture(scope="session")
def Value(engine):
    """The engine's `Value`."""
    return engine.Value


@pytest.fixture(scope="module", autouse=True)
def old_objects_are_frozen():
    """Let the collector, which runs after most tests, pass by what was there before those of this module."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def torch():
    """PyTorch, its many objects frozen too."""
    torch = pytest.importorskip("torch")
    gc.collect()
    gc.freeze()
    return torch


@pytest.fixture(autouse=True)
def arena_is_left_as_found(request):
    """Check after every test that no node was leaked and that the arena's invariants hold."""
    arena = importlib.import_module("pygrad.engine")
    if not hasattr(arena, "live_nodes"):  # the pure-Python stand-in has no arena
        yield
        return
    before = arena.live_nodes()
    yield
    request.node.funcargs.clear()  # Values that fixtures made for the test
    if before != arena.live_nodes():  # what forms no cycle is gone already, and collecting takes a while
        gc.collect()
    arena.check_arena()
    if not getattr(request.node, "failed", False):
        assert before == arena.live_nodes(), "the test left nodes in the arena"
