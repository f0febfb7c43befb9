"""The tests of the rooms; what several of them share is in `conftest`."""

import os

# Before torch is imported, and for the processes that tests start: models this small gain nothing from threads, and
# threads wait for one another, spinning, where several workers share the processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")
