"""Programs of Debian for the tests, where they are not installed: unpacked into a folder, without root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 300


class NotToBeHadError(Exception):
    """A package can't be fetched or unpacked here; the text says why."""


def unpacked(packages: Sequence[str]) -> Path:
    """A folder with the files of some packages, fetched and unpacked once.

    Every user may read it: a server that refuses to be root's has to.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NotToBeHadError("this is not a Debian system (no apt-get)")
    cache = Path(tempfile.gettempdir()) / f"visnet-debian-{os.getuid()}"
    cache.mkdir(mode=0o755, exist_ok=True)
    folder = cache / packages[0]
    with (cache / f"{packages[0]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(packages, cache / f"{packages[0]}.partial")
            (cache / f"{packages[0]}.partial").rename(folder)
    return folder


def _fetch(packages: Sequence[str], target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        downloads = Path(name)
        for part in ("lists", "archives"):
            (downloads / part / "partial").mkdir(parents=True)
        own = ["-oAPT::Sandbox::User=", f"-oDir::State::Lists={downloads / 'lists'}", f"-oDir::Cache={downloads}"]
        _run(["apt-get", *own, "update"], downloads)
        _run(["apt-get", *own, "download", *packages], downloads)
        for package in downloads.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(target)], downloads)


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise NotToBeHadError(f"{command[0]} took over {PATIENCE_S} s") from None
    except subprocess.CalledProcessError as error:
        raise NotToBeHadError(" ".join(error.stderr.split())[-200:]) from None
