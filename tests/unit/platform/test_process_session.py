"""The keeper ends a family of processes, however it came apart, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visnet.platform import process_session

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

# A child that forks one grandchild deaf to SIGTERM and one in a session of its own, and says when they are there.
FAMILY = """
import subprocess, sys, time
sleeper = "import time; print('up', flush=True); time.sleep(300)"
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + sleeper
children = [subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE),
            subprocess.Popen([sys.executable, '-c', sleeper], stdout=subprocess.PIPE, start_new_session=True)]
for child in children: child.stdout.readline()
print(*(child.pid for child in children), flush=True)
time.sleep(300)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kept(mark: str, command: list[str]) -> subprocess.Popen[str]:
    name, value = mark.split("=")
    return subprocess.Popen(
        [sys.executable, "-I", process_session.__file__, mark, *command],
        env={**os.environ, name: value},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("how", ["input closed", "signal"])
def test_ends_the_whole_family_and_nobody_else(tmp_path: Path, how: str) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    mark = f"VISNET_TEST={tmp_path}"
    with kept(mark, [sys.executable, "-c", FAMILY]) as keeper:
        try:
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            pids = [int(word) for word in keeper.stdout.readline().split()]
            assert len(pids) == 2
            assert set(pids) < set(process_session.family(keeper.pid, mark))
            keeper.stdin.close() if how == "input closed" else keeper.send_signal(signal.SIGTERM)
            keeper.wait(15)
            assert process_session.family(keeper.pid, mark) == []
            assert not any(alive(pid) for pid in pids)
            assert alive(stranger.pid)
        finally:
            process_session.end_family(keeper.pid, mark)
            stranger.kill()
            stranger.wait()


def test_gives_the_status_of_a_command_that_ends_by_itself(tmp_path: Path) -> None:
    start = time.monotonic()
    with kept(f"VISNET_TEST={tmp_path}", [sys.executable, "-c", "raise SystemExit(7)"]) as keeper:
        assert keeper.wait(15) == 7
    assert time.monotonic() - start < 10
