"""The page's own files, read once: plain modules and styles, compressed for who takes it, asked for anew each time.

The content security policy lets the page load nothing but itself, the service's answers and pictures: whatever a
product's name or a problem's text holds, it is never a script.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from fastapi.responses import Response

from visnet.serve.entity_tags import has
from visnet.serve.problems import ProblemError

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
LEAST_COMPRESSED = 512
"""Bytes below which compressing is not worth it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """A file as it is sent."""

    plain: bytes
    compressed: bytes
    media_type: str
    etag: str


@functools.cache
def page_files() -> dict[str, PageFile]:
    """All files of the page by their path below its folder."""
    return {path.relative_to(FOLDER).as_posix(): _read(path) for path in sorted(FOLDER.rglob("*")) if path.is_file()}


def page_answer(path: str, *, accept_encoding: str | None, if_none_match: str | None) -> Response:
    """A file of the page.

    Raises:
        ProblemError: 404, there is no such file.
    """
    file = page_files().get(path)
    if file is None:
        raise ProblemError(404, f"the page has no file {path!r}")
    headers = {**HEADERS, "ETag": file.etag}
    if has(if_none_match, file.etag):
        return Response(status_code=304, headers=headers)
    if len(file.plain) >= LEAST_COMPRESSED and "gzip" in (accept_encoding or ""):
        return Response(file.compressed, headers={**headers, "Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.plain, headers=headers, media_type=file.media_type)


def _read(path: Path) -> PageFile:
    plain = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"
    return PageFile(
        plain=plain,
        compressed=gzip.compress(plain, mtime=0),
        media_type=kind,
        etag=f'W/"{hashlib.blake2b(plain, digest_size=12).hexdigest()}"',  # weak: two encodings of the same
    )
