"""Load for a service: wrk, with requests made beforehand. Measures nothing by itself.

wrk is C and takes a small part of the cores it shares with the service; where it is neither installed nor to be had
from Debian, a benchmark that needs it says so and ends.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
PACKAGES = ("wrk", "libluajit-5.1-2", "libluajit-5.1-common")
SCRIPT = """
local requests, turn = {}, 0
function init(args)
  local file = io.open(args[1], "rb")
  while true do
    local head = file:read(4)
    if not head then break end
    local a, b, c, d = head:byte(1, 4)
    requests[#requests + 1] = file:read(((a * 256 + b) * 256 + c) * 256 + d)
  end
  file:close()
  math.randomseed(tonumber(tostring({}):sub(8)) or 1)
  turn = math.random(#requests)
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\\nJSON {"requests": %d, "us": %d, "p50": %f, "p95": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a service answered."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    failed: int
    """Answers that were no 2xx or 3xx, and none at all."""


class Wrk:
    """Closed loop: each client has one connection and asks again once it is answered."""

    def __init__(self) -> None:
        self._command, self._environment = _find()

    def run(self, requests: Sequence[httpx.Request], *, clients: int, seconds: float) -> Load:
        """Ask for so long, all requests in turn; a second of warm-up before it does not count."""
        url = requests[0].url
        with tempfile.TemporaryDirectory() as folder:
            script, file = Path(folder, "load.lua"), Path(folder, "requests")
            script.write_text(SCRIPT)
            file.write_bytes(b"".join(_framed(_raw(request)) for request in requests))
            target = f"{url.scheme}://{url.netloc.decode()}"
            for taken in (1, seconds):
                printed = self._wrk(clients, taken, str(script), target, str(file))
        found = json.loads(printed.rpartition("JSON ")[2])
        return Load(
            requests_per_s=found["requests"] / (found["us"] / 1e6),
            p50_ms=found["p50"] / 1000,
            p95_ms=found["p95"] / 1000,
            p99_ms=found["p99"] / 1000,
            failed=found["failed"],
        )

    def _wrk(self, clients: int, seconds: float, script: str, target: str, file: str) -> str:
        options = [f"-c{clients}", "-t1", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", script]
        command = [self._command, *options, target, file]
        finished = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if finished.returncode or "JSON" not in finished.stdout:
            raise SystemExit(f"wrk failed: {finished.stdout}{finished.stderr}")
        return finished.stdout


def _find() -> tuple[str, dict[str, str]]:
    """wrk and the environment it needs."""
    if installed := shutil.which("wrk"):
        return installed, dict(os.environ)
    sys.path.append(str(ROOT))
    from tests.debian import NotToBeHadError, unpacked

    try:
        folder = unpacked(PACKAGES)
    except NotToBeHadError as error:
        raise SystemExit(f"this benchmark needs wrk, and Debian's can't be had: {error}") from None
    libraries = next(folder.rglob("libluajit-5.1.so.2")).parent
    return str(folder / "usr/bin/wrk"), {**os.environ, "LD_LIBRARY_PATH": str(libraries)}


def _framed(request: bytes) -> bytes:
    return struct.pack(">I", len(request)) + request


def _raw(request: httpx.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    return b"\r\n".join([*lines, b"", request.read()])
