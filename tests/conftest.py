"""One hypothesis profile for all tests: reproducible, no deadline on a shared machine; and one thread for torch."""

import gc
import os
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lrbend", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("lrbend")
gc.disable()  # a sixth of the time that imports take, and they leave nothing to collect


def pytest_collection_finish() -> None:
    """What was imported is there until the end, and is not looked through again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def one_thread_for_torch() -> None:
    """Numba's first kernel gives OpenMP, and so torch, as many threads as there are cores: ten times slower here."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
