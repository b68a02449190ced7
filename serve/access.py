"""Who may do what: the store's API keys, looked at again every few seconds.

Writing and changing releases always needs a key. Searching needs one as soon as there is a key for it.
"""

from __future__ import annotations

import logging
import threading
import time

from fastapi import Request

from visnet.platform.errors import VisnetError
from visnet.platform.keys import KeyRing, Scope, allows
from visnet.platform.store import Store
from visnet.serve import exchange
from visnet.serve.problems import ProblemError

LOOK_S = 2.0
"""How long a new or a revoked key may go unnoticed."""
HEADER = "X-API-Key"

logger = logging.getLogger(__name__)


class Access:
    """Checks the keys of requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = KeyRing.from_store(store)
        threading.Thread(target=self._look, daemon=True, name="keys").start()

    def require(self, request: Request, scope: Scope) -> None:
        """Let a request pass, or not.

        Raises:
            ProblemError: 401, it brings no key that is known; 403, its key is for less than this.
        """
        presented = request.headers.get(HEADER) or _bearer(request)
        if presented is None and scope == "read" and not self._keys.any_read:
            return
        key = self._keys.check(presented)
        if key is None:
            how = f"send {HEADER}: KEY; an operator makes one with visnet key create --scope {scope}"
            raise ProblemError(401, f"this needs an API key: {how}" if presented is None else f"unknown API key: {how}")
        exchange.note(key=key.name)
        if not allows(key.scope, scope):
            raise ProblemError(403, f"this needs a key with scope {scope}; {key.name!r} has {key.scope}")

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                self._keys = KeyRing.from_store(self._store)
            except (VisnetError, OSError) as error:  # the store is away: the keys that are known go on
                logger.warning("could not read the keys: %s", error)


def _bearer(request: Request) -> str | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None
