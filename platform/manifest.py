"""Manifests: the typed, JSON-written statement of what an artifact is, made real by being written last."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from visnet.platform.errors import StoreError
from visnet.platform.store import Store

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

M = TypeVar("M", bound="Manifest")


@functools.cache
def commit() -> str:
    """The commit of the running code: `VISNET_COMMIT` (set for submitted jobs) or the checkout's, else "unknown"."""
    if named := os.environ.get("VISNET_COMMIT"):
        return named
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What every artifact says of itself; each kind adds its own fields."""

    schema_version: int = SCHEMA_VERSION
    created_at: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))
    """UTC, ISO 8601."""
    commit: str = dataclasses.field(default_factory=lambda: commit())
    """Commit of the code that wrote it, or "unknown"."""


def write_manifest(store: Store, directory: str, manifest: Manifest) -> None:
    """Publish the artifact in `directory`: everything else of it must have been written before."""
    store.write(f"{directory}/{MANIFEST}", json.dumps(dataclasses.asdict(manifest), indent=2).encode())


def read_manifest(store: Store, directory: str, kind: type[M]) -> M:
    """Read and check an artifact's manifest.

    Raises:
        StoreError: there is none (the artifact is missing or unfinished), or it isn't one of this kind and version.
    """
    if not has_manifest(store, directory):
        raise StoreError(f"{store.location} has no finished {directory} (no {MANIFEST} in it)")
    try:
        content = json.loads(store.read(f"{directory}/{MANIFEST}"))
    except ValueError as error:
        raise StoreError(f"{directory}/{MANIFEST} is not JSON: {error}") from None
    found = content.get("schema_version") if isinstance(content, dict) else None
    if found != SCHEMA_VERSION:
        raise StoreError(f"{directory} has schema version {found}; this visnet reads {SCHEMA_VERSION}: make it anew")
    try:
        return pydantic.TypeAdapter(kind).validate_python(content)
    except pydantic.ValidationError as error:
        raise StoreError(f"{directory}/{MANIFEST} is not a {kind.__name__}: {error}") from None


def has_manifest(store: Store, directory: str) -> bool:
    """True if the artifact in `directory` is complete."""
    return store.exists(f"{directory}/{MANIFEST}")


def finished(store: Store, parent: str) -> list[str]:
    """The names of the complete artifacts right below `parent`, sorted."""
    return [name for name in store.names(parent) if has_manifest(store, f"{parent}/{name}")]


def digest_of(*parts: Any) -> str:
    """12 hex digits that stand for some JSON-ready values: the id of what is made from just them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
