"""A shop's image server with all its moods, for the tests of downloading."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DRIP_S = 0.2
SLOW_S = 4.0


class PictureServer(ThreadingHTTPServer):
    """Serves pictures by name below `/<mood>/`; counts what it sees.

    Moods: plain; slow (answers after `SLOW_S`); drip (a byte at a time); down (503 for ever); gone (404); late-<n>
    (503 for n requests, then well); patience (429 with Retry-After once); moved (redirects to plain); loop (redirects
    to itself); astray (redirects to a file); lying (another content type); cut (ends before its Content-Length);
    cut-once (so the first time); short (half of the bytes, said to be all); huge (says it has a gigabyte); endless.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, pictures: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pictures = pictures
        self.requests: collections.Counter[str] = collections.Counter()
        self.at_once = 0
        self.most_at_once = 0
        self.hold_s = 0.0
        """How long every answer takes, so that requests meet."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """A client that goes away is no error."""


@contextlib.contextmanager
def serve_pictures(pictures: Mapping[str, bytes]) -> Iterator[PictureServer]:
    """A server of these pictures, by name."""
    with PictureServer(pictures) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PictureServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.requests[self.path] += 1
            seen = server.requests[self.path]
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            time.sleep(server.hold_s)
            _, mood, name = self.path.split("/", 2)
            self._answer(mood, name, seen)
        finally:
            with server.lock:
                server.at_once -= 1

    def _answer(self, mood: str, name: str, seen: int) -> None:
        data = self.server.pictures.get(name, b"")
        if mood == "gone" or not data:
            self._send(404, b"no such picture")
        elif mood == "down" or (mood.startswith("late-") and seen <= int(mood.removeprefix("late-"))):
            self._send(503, b"later")
        elif mood == "patience" and seen == 1:
            self._send(429, b"slower", {"Retry-After": "0.3"})
        elif mood in ("moved", "loop", "astray"):
            to = {"moved": f"/plain/{name}", "loop": self.path, "astray": "file:///etc/passwd"}[mood]
            self._send(302, b"elsewhere", {"Location": to})
        elif mood == "lying":
            self._send(200, data, {"Content-Type": "text/html; charset=utf-8"})
        elif mood == "cut" or (mood == "cut-once" and seen == 1):
            self._send(200, data[: len(data) // 2], length=len(data))
            self.close_connection = True
        elif mood == "short":
            self._send(200, data[: len(data) // 2])
        elif mood == "huge":
            self._send(200, data, length=2**30)
            self.close_connection = True
        elif mood in ("drip", "endless"):
            self._trickle(data, pause_s=DRIP_S if mood == "drip" else 0.0)
        else:
            time.sleep(SLOW_S if mood == "slow" else 0.0)
            self._send(200, data)

    def _send(
        self, status: int, data: bytes, headers: Mapping[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def _trickle(self, data: bytes, *, pause_s: float) -> None:
        """No Content-Length; a byte after the other, or megabytes without an end."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client has had enough
            for number in range(10_000):
                piece = data[number : number + 1] if pause_s else data.ljust(2**20, b"\0")
                if not piece:
                    return
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause_s)

    def log_message(self, *_: object) -> None:
        """Quiet."""
