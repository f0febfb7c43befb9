import os
import signal
import threading
import time

import pytest

from motiontrace.attribution import threads
from motiontrace.attribution.threads import Threads, interruptibly


@pytest.fixture
def pipe(tmp_path):
    """A pipe that nobody writes to: whoever opens it waits for ever, in the kernel."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_work_is_done_in_its_order_and_errors_come_back():
    with Threads(2) as pool:
        made = [pool.submit(lambda given: 12 // given, number) for number in (1, 2, 0, 3)]
        assert [made[place].result() for place in (0, 1, 3)] == [12, 6, 4]
        with pytest.raises(ZeroDivisionError):
            made[2].result()


def test_an_end_without_trouble_waits_for_what_is_in_hand():
    done = []
    with Threads(1) as pool:
        pool.submit(lambda given: (time.sleep(0.05), done.append(given)), 1)
        while not pool._work.empty():
            time.sleep(0.001)
    assert done == [1]


def test_a_stop_waits_for_no_thread_for_long_and_begins_no_more(pipe, monkeypatch):
    monkeypatch.setattr(threads, "GRACE_SECONDS", 0.05)
    begun = []
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Threads(1) as pool:
        pool.submit(lambda path: path.read_bytes(), pipe)
        rest = [pool.submit(begun.append, number) for number in range(3)]
        raise KeyboardInterrupt
    assert time.monotonic() - start < 5
    pipe.open("r+b", buffering=0).close()  # the reader goes on, and finds nothing to be begun
    assert all(each.cancelled() or not each.done() for each in rest)
    assert begun == []


def test_what_is_done_interruptibly_is_its_value_or_error():
    assert interruptibly(str, 3) == "3"
    with pytest.raises(ValueError, match="invalid literal"):
        interruptibly(int, "x")


def test_who_waits_can_be_stopped_whatever_the_work_waits_for(pipe, monkeypatch):
    monkeypatch.setattr(threads, "GRACE_SECONDS", 0.05)
    stopper = threading.Thread(target=_stop_until, args=(stopped := threading.Event(), pipe), daemon=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stopper.start()
        with pytest.raises(KeyboardInterrupt):
            interruptibly(lambda path: path.read_bytes(), pipe)
    finally:
        stopped.set()
        signal.signal(signal.SIGINT, before)


def _stop_until(stopped, pipe):
    """Press Ctrl-C once; where nobody hears it, give the reader an end, so that the test fails and does not hang."""
    time.sleep(0.2)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    if not stopped.wait(20):
        pipe.open("r+b", buffering=0).close()
