"""Reading an image that a catalogue names by its uri: a path or a URL.

A shop's image server is slow now and then, breaks off, or asks for patience. Every download has a time-out for each
step and one for all of it, is tried again with growing pauses where that can help, and no host sees more connections
of this process than it is allowed to.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from pathlib import Path
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError
from urllib3.util import Retry, Timeout

from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.imaging import MAX_IMAGE_BYTES
from visnet.platform.settings import FetchSettings

SCHEMES = ("http://", "https://")
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another try may cure."""
MAX_REDIRECTS = 5
HOSTS = 256
"""Hosts whose connections are kept open."""
USER_AGENT = "visnet"


def is_url(uri: str | None) -> bool:
    """True for what has to be downloaded."""
    return uri is not None and uri.startswith(SCHEMES)


def image_bytes(image: bytes | None, uri: str | None) -> bytes:
    """The encoded picture of a catalogue row, wherever it is; raises as `fetch` does."""
    return image if image is not None else fetch(uri)


def fetch(uri: str | None, fetcher: Fetcher | None = None) -> bytes:
    """The bytes behind a path or an http(s) URL, at most `MAX_IMAGE_BYTES`.

    Args:
        fetcher: downloads; this process's own if left out.

    Raises:
        ImageError: there is no uri, or it can't be read; the text says why.
        TooLargeError: there is more behind it than that.
    """
    if not uri:
        raise ImageError("the row has neither image bytes nor a uri")
    if is_url(uri):
        return (fetcher or _own_fetcher()).download(uri)
    if "://" in uri:
        raise ImageError(f"{uri} has a scheme that is not fetched; expected a path, http or https")
    try:
        with Path(uri).open("rb") as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{uri} can't be read: {error}") from None
    if len(data) > MAX_IMAGE_BYTES:
        raise _too_large(uri)
    return data


class Fetcher:
    """Downloads pictures; may be called from many threads at once."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        step = settings.timeout_s
        self._pool = urllib3.PoolManager(
            num_pools=HOSTS,
            maxsize=settings.per_host,
            block=True,  # a further download waits for a connection of its host
            headers={"User-Agent": USER_AGENT, "Accept": "image/*,*/*;q=0.8"},
            timeout=Timeout(connect=step, read=step),
            retries=Retry(total=None, connect=0, read=0, status=0, other=0),
        )

    def download(self, url: str) -> bytes:
        """The bytes behind a URL; raises as `fetch` does, after the last try."""
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return self._once(url)
            except _PassingError as failure:
                if attempt == self._settings.attempts:
                    tries = "" if attempt == 1 else f" ({attempt} tries)"
                    raise ImageError(f"{url} can't be read: {failure}{tries}") from None
                time.sleep(self._pause_s(attempt, failure.retry_after_s))
        raise AssertionError("attempts are at least 1")

    def _once(self, url: str) -> bytes:
        over = time.monotonic() + self._settings.deadline_s
        place = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._request(url, place)
            to = response.get_redirect_location()
            if not to:
                return self._taken(url, response, over)
            response.close()  # what it has to say beside may have no end
            response.release_conn()
            place = _joined(url, place, to)
            if time.monotonic() > over:
                raise _PassingError(f"still redirected after {self._settings.deadline_s:g} s")
        raise ImageError(f"{url} can't be read: more than {MAX_REDIRECTS} redirects")

    def _request(self, url: str, place: str) -> urllib3.BaseHTTPResponse:
        """The beginning of an answer from `place`, where `url` or its redirects lead."""
        try:
            return self._pool.request("GET", place, preload_content=False, redirect=False)
        except LocationValueError as error:  # also of a place that a redirect names
            raise ImageError(f"{url} can't be read: {error}") from None
        except MaxRetryError as error:
            raise _PassingError(_plain(error.reason or error)) from None
        except HTTPError as error:
            raise _PassingError(_plain(error)) from None

    def _taken(self, url: str, response: urllib3.BaseHTTPResponse, over: float) -> bytes:
        whole = False
        try:
            if response.status != 200:
                self._refuse(url, response)
            data = self._read(url, response, over)
            whole = True
            return data
        except HTTPError as error:
            raise _PassingError(_plain(error)) from None
        finally:
            if not whole:  # what is left on the connection would be the next download's beginning
                response.close()
            response.release_conn()

    def _read(self, url: str, response: urllib3.BaseHTTPResponse, over: float) -> bytes:
        if int(response.headers.get("Content-Length") or 0) > MAX_IMAGE_BYTES:
            raise _too_large(url)
        pieces, size = [], 0
        while piece := response.read1(2**16):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_IMAGE_BYTES:
                raise _too_large(url)
            if time.monotonic() > over:
                raise _PassingError(f"not whole after {self._settings.deadline_s:g} s ({size} bytes)")
        return b"".join(pieces)

    def _refuse(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        reason = f"status {response.status} {response.reason or ''}".rstrip()
        if response.status not in PASSING:
            raise ImageError(f"{url} can't be read: {reason}")
        raise _PassingError(reason, _seconds(response.headers.get("Retry-After")))

    def _pause_s(self, attempt: int, asked_s: float) -> float:
        """Doubles with every try, up to half as long again by chance; a server may ask for more, up to the deadline."""
        pause_s = self._settings.backoff_s * 2 ** (attempt - 1) * random.uniform(1.0, 1.5)
        return min(max(pause_s, asked_s), self._settings.deadline_s)


class _PassingError(Exception):
    """A download failed in a way that another try may cure."""

    def __init__(self, text: str, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


def _plain(error: BaseException) -> str:
    """urllib3 puts objects with their addresses into its messages: equal failures are to read the same."""
    text = str(error)
    return text.rpartition(">: ")[2] or type(error).__name__


def _joined(url: str, place: str, to: str) -> str:
    try:
        return urljoin(place, to)
    except ValueError as error:
        raise ImageError(f"{url} can't be read: it redirects to what is no URL: {error}") from None


def _seconds(header: str | None) -> float:
    """Of a Retry-After; dates are not waited for."""
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0


def _too_large(uri: str) -> TooLargeError:
    return TooLargeError(f"{uri} has more than {MAX_IMAGE_BYTES} bytes")


_LOCK = threading.Lock()


@functools.cache
def _make_fetcher() -> Fetcher:
    return Fetcher(FetchSettings())


def _own_fetcher() -> Fetcher:
    with _LOCK:
        return _make_fetcher()
