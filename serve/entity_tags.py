"""Entity tags (RFC 9110, 8.8.3 and 13.1.2): whether a client has already what it asks for."""

from __future__ import annotations


def has(if_none_match: str | None, etag: str) -> bool:
    """Whether the header names a tag, or any. A proxy that compresses makes strong tags weak ones: both count."""
    if if_none_match is None:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in known or etag.removeprefix("W/") in known
