"""Reading images by their uri: paths, a local HTTP server, and what goes wrong."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from visnet.platform import fetch as module
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.fetch import fetch, image_bytes


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/picture" else 404)
        self.end_headers()
        self.wfile.write(b"bytes of a picture")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pictures) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_reads_a_path_and_a_url(tmp_path: Path, url: str) -> None:
    (tmp_path / "a").write_bytes(b"bytes of a picture")
    assert fetch(str(tmp_path / "a")) == fetch(f"{url}/picture") == b"bytes of a picture"


def test_bytes_at_hand_are_not_fetched() -> None:
    assert image_bytes(b"", "http://127.0.0.1:1/") == b""
    assert image_bytes(b"x", None) == b"x"


@pytest.mark.parametrize(
    "uri", [None, "", "/no/such/file", "http://127.0.0.1:1/", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
def test_what_cannot_be_read_is_an_image_error_that_names_it(uri: str | None) -> None:
    with pytest.raises(ImageError, match=uri or "neither"):
        fetch(uri)


def test_a_missing_page_is_an_image_error(url: str) -> None:
    with pytest.raises(ImageError, match="404"):
        fetch(f"{url}/other")


def test_never_reads_more_than_the_bound(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 5)
    with pytest.raises(TooLargeError):
        fetch(f"{url}/picture")
