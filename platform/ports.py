"""Ports for a cluster that shares its machine with others: a block of its own, below the ephemeral range."""

import secrets
import socket
from dataclasses import dataclass, field

FIRST, LAST, BLOCK = 20000, 29800, 200
_GUARD = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class PortBlock:
    """Two hundred ports, claimed for as long as the block is open.

    The claim is a bound socket (the guard) on one of them, so two blocks of one machine never overlap, whoever
    started them. Ports are not held open themselves: Ray binds them.
    """

    base: int
    guard: socket.socket = field(repr=False)

    @property
    def dashboard(self) -> int:
        return self.base

    @property
    def dashboard_metrics(self) -> int:
        return self.base + 1

    @property
    def autoscaler_metrics(self) -> int:
        return self.base + 2

    @property
    def ray_client(self) -> int:
        return self.base + 3

    @property
    def haproxy_stats(self) -> int:
        return self.base + 4

    @property
    def haproxy_metrics(self) -> int:
        return self.base + 5

    @property
    def fallback_http(self) -> int:
        return self.base + 6

    @property
    def fallback_grpc(self) -> int:
        return self.base + 7

    @property
    def gcs(self) -> int:
        """Where nodes and drivers join, if not at a port that Ray chooses."""
        return self.base + 8

    @property
    def replica_http(self) -> tuple[int, int]:
        """First and last port for the ingress replicas: HAProxy sends them their requests here."""
        return self.base + 10, self.base + 149

    @property
    def replica_grpc(self) -> tuple[int, int]:
        """First and last port for gRPC ingress replicas (visnet has none)."""
        return self.base + 150, self.base + 199

    def close(self) -> None:
        """Give the block back. Safe to call twice."""
        self.guard.close()


def claim_ports() -> PortBlock:
    """Claim a free block, starting the search at a random one.

    Raises:
        OSError: no block of the range is free.
    """
    bases = list(range(FIRST, LAST, BLOCK))
    start = secrets.randbelow(len(bases))
    for base in bases[start:] + bases[:start]:
        if (guard := _claim(base)) is not None:
            return PortBlock(base=base, guard=guard)
    raise OSError(f"no free block of {BLOCK} ports between {FIRST} and {LAST + BLOCK - 1}")


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nothing listens on `port` of `host`: HAProxy would share a taken port in silence, so ask before it."""
    try:
        _bind(host, port, reuse=True).close()
    except OSError:
        return False
    return True


def _claim(base: int) -> socket.socket | None:
    try:
        guard = _bind("127.0.0.1", base + _GUARD)
    except OSError:
        return None
    if all(is_free(base + offset) for offset in range(16) if offset != _GUARD):
        return guard
    guard.close()
    return None


def _bind(host: str, port: int, *, reuse: bool = False) -> socket.socket:
    """Bind without listening; `reuse` looks past connections that are only waiting out their TIME_WAIT."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if reuse:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound
