"""Freed memory is kept for the next use; measured in page faults of a process of its own."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys, threading
import numpy as np
from visnet.platform.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()


def use() -> None:
    for round in range(12):
        if round == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(2**27, np.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


if sys.argv[2] == "thread":
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
else:
    use()
"""


def faults(mode: str, where: str) -> int:
    ran = subprocess.run([sys.executable, "-c", COUNT, mode, where], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_not_asked_for_again(where: str) -> None:
    assert faults("keep", where) < faults("give back", where) / 10
