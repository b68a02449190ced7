"""Run a command whose whole family of processes ends when it should: the keeper of a local Ray cluster.

Ray starts daemons, workers in process groups of their own and job drivers in sessions of their own; killing the one
process that was started leaves the rest. The keeper is run as a program (`python -I process_session.py MARK COMMAND…`)
as the leader of a new session. It ends the family when its standard input closes, which happens when its parent stops
it and equally when its parent is killed, so that no cluster is ever orphaned. The family is the session, and whatever
carries MARK (a `NAME=value`) in its environment; nothing else is touched.

Only the standard library, and no import of visnet: it runs isolated. Needs /proc; without it (macOS) only the process
group ends.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 5.0
"""How long the command has to end by itself after SIGTERM, before its family is ended."""
TERM_S = 1.0
"""How long the family has after SIGTERM, before SIGKILL."""


def family(session: int, mark: str) -> list[int]:
    """The live processes (no zombies) of a session, and those of this user with `mark` in their environment."""
    return [pid for pid in _pids() if _in_session(pid, session) or _is_marked(pid, mark)]


def end_family(session: int, mark: str, *, term_s: float = TERM_S) -> list[int]:
    """End every process of the family but the caller: SIGTERM, then SIGKILL after `term_s` seconds.

    Returns:
        What is still alive afterwards: empty unless a process is stuck in the kernel.
    """
    for number, wait_s in ((signal.SIGTERM, term_s), (signal.SIGKILL, 2.0), (signal.SIGKILL, 2.0)):
        if not _signal_all(session, mark, number) or _await_end(session, mark, wait_s):
            return []
    return _others(session, mark)


def keep(mark: str, command: list[str]) -> int:
    """Run `command` until it ends, standard input closes or a signal comes; then end the family.

    Returns:
        The command's exit status.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked.append(received))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None and not asked and not _input_closed(0.2):
        pass
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    end_family(os.getsid(0), mark)
    return child.wait()


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _in_session(pid: int, session: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[3]) == session


def _is_marked(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _others(session: int, mark: str) -> list[int]:
    return [pid for pid in family(session, mark) if pid != os.getpid()]


def _signal_all(session: int, mark: str, number: signal.Signals) -> list[int]:
    pids = _others(session, mark)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return pids


def _await_end(session: int, mark: str, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while _others(session, mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _input_closed(wait_s: float) -> bool:
    ready, _, _ = select.select([0], [], [], wait_s)
    return bool(ready) and not os.read(0, 4096)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1], sys.argv[2:]))
