"""Reading images by their uri: paths, a local HTTP server in all its moods, and what goes wrong."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.picture_server import PictureServer, serve_pictures
from visnet.platform import fetch as module
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.fetch import Fetcher, fetch, image_bytes
from visnet.platform.settings import FetchSettings

PICTURE = bytes(range(256)) * 40
QUICK = FetchSettings(timeout_s=1.5, deadline_s=2.0, attempts=3, backoff_s=0.01, per_host=4)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serve_pictures({"a": PICTURE}) as server:
        yield server


def test_reads_a_path_and_a_url(tmp_path: Path, server: PictureServer) -> None:
    (tmp_path / "a").write_bytes(PICTURE)
    assert fetch(str(tmp_path / "a")) == fetch(f"{server.url}/plain/a") == PICTURE


def test_bytes_at_hand_are_not_fetched() -> None:
    assert image_bytes(b"", "http://127.0.0.1:1/") == b""
    assert image_bytes(b"x", None) == b"x"


@pytest.mark.parametrize("uri", [None, "", "/no/such/file", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://"])
def test_what_cannot_be_read_is_an_image_error_that_names_it(uri: str | None) -> None:
    with pytest.raises(ImageError, match=uri or "neither"):
        fetch(uri)


def test_a_host_that_does_not_answer() -> None:
    with pytest.raises(ImageError, match=r"http://127.0.0.1:1/ can't be read: .*refused.* \(3 tries\)"):
        Fetcher(QUICK).download("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("mood", "requests"),
    [("plain", 1), ("moved", 1), ("lying", 1), ("late-2", 3), ("patience", 2), ("cut-once", 2)],
)
def test_gets_the_picture_whatever_the_server_does_first(server: PictureServer, mood: str, requests: int) -> None:
    assert Fetcher(QUICK).download(f"{server.url}/{mood}/a") == PICTURE
    assert server.requests[f"/{mood}/a"] == requests


@pytest.mark.parametrize(
    ("mood", "requests", "reason"),
    [
        ("gone", 1, "status 404 Not Found"),
        ("down", 3, r"status 503 .* \(3 tries\)"),
        ("slow", 3, r"timed out.* \(3 tries\)"),
        ("drip", 3, r"not whole after 2 s .* \(3 tries\)"),
        ("cut", 3, r"IncompleteRead.* \(3 tries\)"),
        ("loop", module.MAX_REDIRECTS + 1, "more than 5 redirects"),
        ("astray", 1, "No host specified"),
    ],
)
def test_gives_up_with_the_reason(server: PictureServer, mood: str, requests: int, reason: str) -> None:
    with pytest.raises(ImageError, match=f"{mood}/a can't be read: .*{reason}"):
        Fetcher(QUICK).download(f"{server.url}/{mood}/a")
    assert server.requests[f"/{mood}/a"] == requests


def test_equal_failures_read_the_same(server: PictureServer) -> None:
    texts = set()
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            Fetcher(QUICK).download("http://127.0.0.1:1/")
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert "0x" not in texts.pop()


def test_waits_as_long_as_the_server_asks(server: PictureServer) -> None:
    started = time.monotonic()
    Fetcher(QUICK).download(f"{server.url}/patience/a")
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("mood", ["huge", "endless", "plain"])
def test_never_reads_more_than_the_bound(server: PictureServer, mood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 5_000)
    with pytest.raises(TooLargeError, match="more than 5000 bytes"):
        Fetcher(QUICK).download(f"{server.url}/{mood}/a")
    assert server.requests[f"/{mood}/a"] == 1


def test_a_connection_is_usable_after_a_failure(server: PictureServer) -> None:
    fetcher = Fetcher(QUICK)
    for mood in ("gone", "cut-once", "plain", "huge", "plain"):
        try:
            assert fetcher.download(f"{server.url}/{mood}/a") == PICTURE
        except ImageError:
            assert mood in ("gone", "huge")


def test_a_host_sees_no_more_connections_than_allowed(server: PictureServer) -> None:
    server.hold_s = 0.05
    fetcher = Fetcher(QUICK)
    with ThreadPoolExecutor(24) as pool:
        pictures = list(pool.map(fetcher.download, [f"{server.url}/plain/a"] * 48))
    assert pictures == [PICTURE] * 48
    assert server.most_at_once == QUICK.per_host
