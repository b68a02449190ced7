"""API keys: who may search, write, or change releases.

    keys/keys.json      id, name, scope, times and the secret's hash of every key that was ever made

A key is `vn_<id>_<secret>` and is shown once, when it is made. The secret has 256 bits of chance, so SHA-256 is hash
enough: there is no dictionary to try, and a slow hash would cost every request what it costs an attacker. Keys that are
revoked or expired stay on record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

import pydantic

from visnet.platform.errors import NotFoundError, StoreError
from visnet.platform.store import Store

KEYS = "keys/keys.json"
PREFIX = "vn"
SECRET_BYTES = 32

Scope = Literal["read", "write", "admin"]
"""Search; also upsert and delete products; also change releases."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Each includes those before it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """What is kept of a key."""

    key_id: str
    name: str
    """Says whose it is."""
    scope: Scope
    secret_hash: str
    """SHA-256 of the secret, hex."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything at that time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _KeyFile:
    schema_version: Literal[1] = 1
    keys: list[Key]


_FILE = pydantic.TypeAdapter(_KeyFile)


class MadeKey(NamedTuple):
    """A new key, and for the only time what its holder has to present."""

    key: Key
    presented: str


class KeyRing:
    """The keys as they were when they were read; checks what a request presents."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = {key.key_id: key for key in keys}

    @classmethod
    def from_store(cls, store: Store) -> KeyRing:
        """The keys of a store; raises StoreError if their file is broken."""
        return cls(read_keys(store))

    @property
    def any_read(self) -> bool:
        """True if searching needs a key: if ever one was made for nothing but that.

        An expired or revoked one counts too: a service that was closed does not open by itself.
        """
        return any(key.scope == "read" for key in self._keys.values())

    @property
    def any_write(self) -> bool:
        """True if somebody may write: if there is a valid key for it."""
        now = datetime.now(UTC)
        return any(allows(key.scope, "write") and key.is_valid(now) for key in self._keys.values())

    def check(self, presented: str | None, now: datetime | None = None) -> Key | None:
        """The key that is presented, or None if it is none, expired or revoked.

        Args:
            now: the time, with its zone; default: now.
        """
        prefix, _, rest = (presented or "").partition("_")
        key_id, _, secret = rest.partition("_")
        key = self._keys.get(key_id)
        if prefix != PREFIX or key is None or not hmac.compare_digest(_hash(secret), key.secret_hash):
            return None
        return key if key.is_valid(now or datetime.now(UTC)) else None


def allows(scope: Scope, needed: Scope) -> bool:
    """Whether a key of a scope may do what needs another one."""
    return SCOPES.index(scope) >= SCOPES.index(needed)


def read_keys(store: Store) -> list[Key]:
    """All keys, oldest first, those that are no longer valid too; raises StoreError if their file is broken."""
    if not store.exists(KEYS):
        return []
    try:
        return _FILE.validate_json(store.read(KEYS)).keys
    except pydantic.ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise StoreError(f"{store.location}/{KEYS} can't be read: {where}: {error.errors()[0]['msg']}") from None


def create_key(store: Store, *, name: str, scope: Scope, expires_at: datetime | None = None) -> MadeKey:
    """Make a key.

    Args:
        name: says whose it is; no other key in use has it.
        expires_at: from then on it opens nothing; with its zone.

    Raises:
        ValueError: an empty name or one that is in use, an unknown scope, or a time that has passed or has no zone.
    """
    now = datetime.now(UTC)
    if not name.strip():
        raise ValueError(f"expected a name that says whose key it is, got {name!r}")
    if scope not in SCOPES:
        raise ValueError(f"expected one of the scopes {', '.join(SCOPES)}, got {scope!r}")
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
        raise ValueError(f"expected a time to come, with its zone, got {expires_at}")
    with store.lock(KEYS):
        keys = read_keys(store)
        if any(key.name == name and key.is_valid(now) for key in keys):
            raise ValueError(f"there is a key named {name!r} already: revoke it first, or choose another name")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        key = Key(
            key_id=secrets.token_hex(6),
            name=name,
            scope=scope,
            secret_hash=_hash(secret),
            created_at=now,
            expires_at=expires_at,
        )
        _write(store, [*keys, key])
    return MadeKey(key, f"{PREFIX}_{key.key_id}_{secret}")


def revoke_key(store: Store, which: str) -> Key:
    """Make a key worthless.

    Args:
        which: its id, or its name.

    Raises:
        NotFoundError: no key in use is called so; the text lists those that are.
    """
    now = datetime.now(UTC)
    with store.lock(KEYS):
        keys = read_keys(store)
        in_use = [key for key in keys if key.is_valid(now)]
        found = next((key for key in in_use if which in (key.key_id, key.name)), None)
        if found is None:
            known = ", ".join(f"{key.key_id} ({key.name})" for key in in_use) or "none"
            raise NotFoundError(f"there is no key in use called {which!r}; in use: {known}")
        revoked = dataclasses.replace(found, revoked_at=now)
        _write(store, [revoked if key is found else key for key in keys])
    return revoked


def _write(store: Store, keys: list[Key]) -> None:
    store.write(KEYS, _FILE.dump_json(_KeyFile(keys=keys), indent=2))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
