"""Downloads from URLs that strangers name: only from hosts on a list, and from no address behind the firewall.

Whoever may send a URL to the service makes the service ask for it, from inside the network it runs in. So the host
must be on the operator's list, at every redirect anew; and the address that a connection really has is looked at
after connecting and before a byte is sent, TLS's greeting included: what a name meant when it was looked up before
(DNS rebinding) plays no part. What is refused is refused at once, without another try.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from visnet.platform.errors import ImageError
from visnet.platform.fetch import Fetcher
from visnet.platform.settings import FetchSettings

SETTING = "metadata.visnet.serve.fetch_hosts"
DEFAULT_PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Where IPv6-only networks put all of IPv4."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class GuardedFetcher(Fetcher):
    """Downloads pictures from the hosts that are allowed; may be called from many threads at once.

    Args:
        allowed_hosts: `shop.example` (at the ports of http and https), `shop.example:8080` (at that one), or either
            with `*.` before it: everything below that domain, but not itself. None: every download is refused.
        allow_private: connect to any address, such as an intranet's.

    Raises:
        ValueError: one of the hosts is written in another way.
    """

    def __init__(self, allowed_hosts: Sequence[str], settings: FetchSettings, *, allow_private: bool = False) -> None:
        super().__init__(settings)
        self._allowed = [_allowed(entry) for entry in allowed_hosts]
        if not allow_private:
            self._pool.pool_classes_by_scheme = {"http": _PublicHTTPPool, "https": _PublicHTTPSPool}

    def _request(self, url: str, place: str) -> urllib3.BaseHTTPResponse:
        if reason := self._refusal(place):
            redirected = "" if place == url else "it redirects to where it may not: "
            raise ImageError(f"{url} can't be read: {redirected}{reason}")
        try:
            return super()._request(url, place)
        except _NotPublicError:
            raise ImageError(f"{url} can't be read: its host has no public address") from None

    def _refusal(self, place: str) -> str | None:
        """Why nothing is asked for at this place, as urllib3 understands it; None if it is all right."""
        try:
            parsed = parse_url(place)
        except LocationParseError:
            return "it is no URL"
        if parsed.scheme not in DEFAULT_PORTS:
            return "expected http or https"
        if parsed.auth is not None:
            return "expected a URL without a user's name and password"
        if not any(allowed.covers(parsed) for allowed in self._allowed):
            return f"its host and port are not among those that {SETTING} allows"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _AllowedHost:
    host: str
    port: int | None
    """None: the scheme's own."""
    below: bool
    """The hosts below `host`, instead of itself."""

    def covers(self, parsed: Url) -> bool:
        own = DEFAULT_PORTS[parsed.scheme or ""]
        if (own if parsed.port is None else parsed.port) != (own if self.port is None else self.port):
            return False
        host = (parsed.host or "").removesuffix(".")
        return host.endswith(f".{self.host}") if self.below else host == self.host


def _allowed(entry: str) -> _AllowedHost:
    name = entry.removeprefix("*.")
    try:
        parsed = parse_url(f"http://{name}")
    except LocationParseError:
        parsed = Url()
    host = (parsed.host or "").removesuffix(".")
    if not host or "*" in host or parsed != Url("http", host=parsed.host, port=parsed.port):
        raise ValueError(f"{SETTING}: expected host, host:port, *.domain or *.domain:port, got {entry!r}")
    return _AllowedHost(host=host, port=parsed.port, below=name != entry)


def is_public(address: Address) -> bool:
    """Whether an address can only be somebody's out on the Internet.

    Addresses of IPv6 that stand for one of IPv4 are what that one is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class _NotPublicError(Exception):
    """A connection was made to an address that is not to be asked; nothing was sent."""


def _checked(connected: socket.socket) -> socket.socket:
    try:
        public = is_public(ipaddress.ip_address(connected.getpeername()[0]))
    except (OSError, ValueError):  # it is gone already, or it is no address
        public = False
    if not public:
        connected.close()
        raise _NotPublicError
    return connected


class _PublicHTTPConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _PublicHTTPSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _PublicHTTPPool(HTTPConnectionPool):
    ConnectionCls = _PublicHTTPConnection


class _PublicHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _PublicHTTPSConnection
