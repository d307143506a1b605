"""One hypothesis profile for all tests: reproducible, no deadline on a shared machine."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("lrbend", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("lrbend")
