"""A PostgreSQL server of the tests' own, which can be killed and started again.

It listens on a socket in its own folder, at no port. Installed programs are used, or Debian's, unpacked. As it
refuses to be root's, root runs it as another user.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.debian import NotToBeHadError, unpacked

VERSION = "15"
PACKAGES = (
    *(f"postgresql-{VERSION}", "libpq5", "libicu72", "libldap-2.5-0", "libsasl2-2", "libllvm14", "libxml2"),
    *("libxslt1.1", "libgssapi-krb5-2", "libkrb5-3", "libkrb5support0", "libk5crypto3", "libkeyutils1", "tzdata"),
)
NOBODY = 65534
PATIENCE_S = 60.0


class Postgres:
    """A server in a folder of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._folder = folder
        self._programs = root / f"usr/lib/postgresql/{VERSION}/bin"
        libraries = [str(path) for path in (root / "usr/lib").glob("*-linux-gnu")] if root != Path("/") else []
        self._as: dict[str, Any] = {
            "env": {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(libraries), "TZ": "UTC"},
            "cwd": folder,
            **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.database("postgres")

    def database(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://visnet@/{name}?host={self._folder}"

    def make(self) -> None:
        """Make the server's data."""
        command = [self._programs / "initdb", "-D", self._folder / "data", "-U", "visnet", "--auth=trust"]
        options = ["--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, **self._as)
        if done.returncode:
            raise NotToBeHadError(f"initdb: {' '.join(done.stderr.split())[-300:]}")

    def start(self) -> None:
        """Start it, and wait until it answers; after a kill it puts its data in order first."""
        until = time.monotonic() + PATIENCE_S
        command = [self._programs / "postgres", "-D", self._folder / "data", "-k", self._folder, "-c"]
        with (self._folder / "log").open("ab") as log:
            while time.monotonic() < until:
                if self._process is None or self._process.poll() is not None:  # a killed one's memory may be in use yet
                    self._process = subprocess.Popen(
                        [*command, "listen_addresses="], stdout=log, stderr=log, **self._as
                    )
                if self._answers():
                    return
                time.sleep(0.05)
        raise TimeoutError(f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-1000:]}")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill the server and all its processes at once, as a power cut would."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # it starts no further ones
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (*map(int, children), self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(PATIENCE_S)


@contextlib.contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server with nothing in it; the test is skipped where there can be none."""
    folder = Path(tempfile.mkdtemp(prefix="visnet-postgres-"))  # a socket's path has to be short
    try:
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        try:
            server = Postgres(_root(), folder)
            server.make()
        except NotToBeHadError as error:
            pytest.skip(f"no PostgreSQL server to be had: {error}")
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@functools.cache
def _root() -> Path:
    """Where the server's programs and libraries lie: `/`, or the folder they were unpacked to."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if not Path("/proc/self/task").is_dir():
        raise NotToBeHadError("this system has no /proc")
    if Path(f"/usr/lib/postgresql/{VERSION}/bin/postgres").exists():
        return Path("/")
    return unpacked(PACKAGES)
