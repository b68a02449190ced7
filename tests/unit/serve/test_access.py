"""Who may do what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import Request

from visnet.platform.keys import KeyRing, Scope, create_key, revoke_key
from visnet.platform.store import Store
from visnet.serve.access import Access
from visnet.serve.problems import ProblemError


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "query_string": b""})


def status(access: Access, scope: Scope, **headers: str) -> int:
    try:
        access.require(request(**headers), scope)
    except ProblemError as error:
        return error.status
    return 200


def test_without_keys_anybody_may_search_and_nobody_may_write(store: Store) -> None:
    access = Access(store)
    assert [status(access, scope) for scope in ("read", "write", "admin")] == [200, 401, 401]
    with pytest.raises(ProblemError, match="visnet key create --scope write"):
        access.require(request(), "write")


def test_each_scope_opens_itself_and_what_is_below(store: Store) -> None:
    keys = {scope: create_key(store, name=scope, scope=scope).presented for scope in ("read", "write", "admin")}
    access = Access(store)
    seen = {
        scope: [status(access, needed, x_api_key=key) for needed in ("read", "write", "admin")]
        for scope, key in keys.items()
    }
    assert seen == {"read": [200, 403, 403], "write": [200, 200, 403], "admin": [200, 200, 200]}
    assert status(access, "read") == 401  # there is a key for searching now
    assert status(access, "write", authorization=f"Bearer {keys['write']}") == 200
    assert status(access, "write", authorization=f"Basic {keys['write']}") == 401
    assert status(access, "read", x_api_key="vn_x_y") == 401


def test_keys_that_ended_open_nothing(store: Store) -> None:
    made = create_key(store, name="a", scope="admin", expires_at=datetime.now(UTC) + timedelta(days=1))
    access = Access(store)
    assert status(access, "admin", x_api_key=made.presented) == 200
    revoke_key(store, "a")
    access._keys = KeyRing.from_store(store)
    assert status(access, "admin", x_api_key=made.presented) == 401
