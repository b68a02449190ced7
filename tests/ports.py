"""Ports for services that tests start: those of two test processes are far from each other."""

from __future__ import annotations

import os

from visnet.platform.ports import is_free

FIRST, EACH = 18_000, 200


def free_port() -> int:
    """A port that nothing listens on, of this test process's own range."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST + worker * EACH
    return next(port for port in range(first, first + EACH) if is_free(port))
