"""What a stranger's URL may reach: hosts on a list, public addresses, and nothing else, whatever a name resolves to."""

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.picture_server import PictureServer, serve_pictures
from visnet.platform import fetch as fetch_module
from visnet.platform import guarded_fetch as module
from visnet.platform.errors import ImageError, TooLargeError
from visnet.platform.guarded_fetch import GuardedFetcher, is_public
from visnet.platform.settings import FetchSettings

PICTURE = bytes(range(256)) * 40
PIECES = 100
QUICK = FetchSettings(timeout_s=1.5, deadline_s=2.0, attempts=3, backoff_s=0.01, per_host=4)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serve_pictures({"a": PICTURE}) as server:
        yield server


def place(server: PictureServer) -> str:
    return f"127.0.0.1:{server.server_port}"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the names of hosts resolve to, changeable at any time; others resolve as ever."""
    known: dict[str, str] = {}
    resolve = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve(known.get(host, host), *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_gets_a_picture_from_an_allowed_host(server: PictureServer) -> None:
    fetcher = GuardedFetcher([place(server)], QUICK, allow_private=True)
    for mood in ("plain", "moved", "late-1"):
        assert fetcher.download(f"{server.url}/{mood}/a") == PICTURE
    assert server.requests["/plain/a"] == 2


@pytest.mark.parametrize("hosts", [[], ["shop.example"], ["127.0.0.1"], ["127.0.0.1:1"], ["*.0.0.1"]])
def test_a_host_that_is_not_allowed_is_not_asked(server: PictureServer, hosts: list[str]) -> None:
    with pytest.raises(
        ImageError, match=r"plain/a can't be read: its host and port .* metadata.visnet.serve.fetch_hosts"
    ):
        GuardedFetcher(hosts, QUICK, allow_private=True).download(f"{server.url}/plain/a")
    assert not server.requests


@pytest.mark.parametrize(
    ("allowed", "url", "may"),
    [
        ("shop.example", "http://shop.example/a", True),
        ("shop.example", "https://SHOP.example.:443/a?b#c", True),
        ("Shop.Example", "http://shop.example/", True),
        ("shop.example", "http://shop.example:443/", False),
        ("shop.example", "https://shop.example:80/", False),
        ("shop.example", "http://shop.example:0/", False),
        ("shop.example", "http://shop.example:8080/", False),
        ("shop.example:8080", "http://shop.example:8080/", True),
        ("shop.example:8080", "https://shop.example:8080/", True),
        ("shop.example:8080", "http://shop.example/", False),
        ("shop.example", "http://a.shop.example/", False),
        ("shop.example", "http://shop.example.evil/", False),
        ("shop.example", "http://evilshop.example/", False),
        ("shop.example", "http://evil/#shop.example", False),
        ("shop.example", "http://evil/?http://shop.example", False),
        ("shop.example", "http://evil\\@shop.example/", False),
        ("shop.example", "http://shop.example\\@evil/", True),  # a path at the shop, for urllib3 as well
        ("shop.example", "http://shop.example%2f.evil/", False),
        ("*.shop.example", "http://a.shop.example/", True),
        ("*.shop.example", "http://a.b.shop.example/", True),
        ("*.shop.example", "http://shop.example/", False),
        ("*.shop.example", "http://evilshop.example/", False),
        ("*.shop.example:8080", "http://a.shop.example:8080/", True),
        ("*.shop.example:8080", "http://a.shop.example/", False),
        ("münchen.example", "http://xn--mnchen-3ya.example/", True),
        ("xn--mnchen-3ya.example", "http://münchen.example/", True),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/", True),
        ("10.0.0.1", "http://167772161/", False),
    ],
)
def test_which_urls_are_covered(allowed: str, url: str, may: bool) -> None:
    reason = GuardedFetcher([allowed], QUICK)._refusal(url)
    assert (reason is None) is may
    assert may or reason == f"its host and port are not among those that {module.SETTING} allows"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://shop.example/a", "expected http or https"),
        ("file:///etc/passwd", "expected http or https"),
        ("/etc/passwd", "expected http or https"),
        ("//shop.example/a", "expected http or https"),
        ("", "expected http or https"),
        ("http://me:secret@shop.example/", "without a user's name"),
        ("http://me@shop.example/", "without a user's name"),
        ("http://shop example/", "no URL"),
        ("http://shop.example:99999/", "no URL"),
        ("http://[::1/", "no URL"),
        ("http://", "host and port are not"),
    ],
)
def test_what_is_no_url_to_fetch(url: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        GuardedFetcher(["shop.example", "*.example"], QUICK, allow_private=True).download(url)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "http://shop.example",
        "shop.example/",
        "a.example?b",
        "a@shop.example",
        "a.*.example",
        "shop.example:x",
        "a b",
    ],
)
def test_a_host_written_in_another_way_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"fetch_hosts: expected host, host:port"):
        GuardedFetcher([entry], QUICK)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("64:ff9b::5db8:d822", True),  # 93.184.216.34 of an IPv6-only network
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1
        ("2002:7f00:1::", False),  # 127.0.0.1 by 6to4
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fc00::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_a_private_address_is_refused_at_once_and_sent_nothing(names: dict[str, str], server: PictureServer) -> None:
    names["shop.example"] = "127.0.0.1"
    fetcher = GuardedFetcher([f"shop.example:{server.server_port}", place(server)], QUICK)
    for url in (f"http://shop.example:{server.server_port}", server.url):
        with pytest.raises(ImageError, match=f"{url}/plain/a can't be read: its host has no public address$"):
            fetcher.download(f"{url}/plain/a")
    assert not server.requests


class Listener:
    """Takes connections and keeps what they send."""

    def __init__(self, listening: socket.socket) -> None:
        self.port = listening.getsockname()[1]
        self.sent: list[bytes] = []
        self.taken = threading.Semaphore(0)
        self._listening = listening

    def listen(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self.sent.append(connection.recv(2**16))
                self.taken.release()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listener = Listener(listening)
        thread = threading.Thread(target=listener.listen)
        thread.start()
        yield listener
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_not_even_the_greeting_of_tls_is_sent(names: dict[str, str], listener: Listener, scheme: str) -> None:
    names["shop.example"] = "127.0.0.1"
    with pytest.raises(ImageError, match="no public address"):
        GuardedFetcher([f"shop.example:{listener.port}"], QUICK).download(f"{scheme}://shop.example:{listener.port}/")
    assert listener.taken.acquire(timeout=60)
    assert listener.sent == [b""]
    with pytest.raises(ImageError, match="can't be read"):  # where it may, it is
        GuardedFetcher([f"shop.example:{listener.port}"], QUICK, allow_private=True).download(
            f"{scheme}://shop.example:{listener.port}/"
        )
    assert listener.taken.acquire(timeout=60)
    assert listener.sent[1]


def test_a_name_that_resolves_otherwise_the_second_time(
    names: dict[str, str], server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the name meant when somebody looked does not matter: the connection's own address does."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def rebind(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(host)
        if len(asked) == 1:
            return resolve("93.184.216.34", port, *arguments, **options)
        return resolve("127.0.0.1", port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    assert socket.getaddrinfo("shop.example", 80)[0][4][0] == "93.184.216.34"
    with pytest.raises(ImageError, match="no public address"):
        GuardedFetcher([f"shop.example:{server.server_port}"], QUICK).download(
            f"http://shop.example:{server.server_port}/plain/a"
        )
    assert len(asked) == 2  # and it was not tried again
    assert not server.requests


def test_a_redirect_is_looked_at_anew(names: dict[str, str], server: PictureServer) -> None:
    names["shop.example"] = "127.0.0.1"
    own = f"http://shop.example:{server.server_port}"
    fetcher = GuardedFetcher([f"shop.example:{server.server_port}"], QUICK, allow_private=True)
    with pytest.raises(
        ImageError, match=f"{own}/astray/a can't be read: it redirects to where it may not: expected http"
    ):
        fetcher.download(f"{own}/astray/a")
    assert server.requests == {"/astray/a": 1}


def test_where_a_redirect_leads_is_not_told(names: dict[str, str], server: PictureServer) -> None:
    names |= {"moved.example": "127.0.0.2", "shop.example": "127.0.0.1"}
    at = f"shop.example:{server.server_port}"
    for target in (f"http://me@{at}/plain/a", f"{server.url}/plain/a"):
        with redirecting(target) as port:
            fetcher = GuardedFetcher([f"moved.example:{port}", at], QUICK, allow_private=True)
            with pytest.raises(ImageError, match="it redirects to where it may not") as caught:
                fetcher.download(f"http://moved.example:{port}/")
        assert target not in str(caught.value)
    assert not server.requests


def test_a_redirect_to_a_private_address(
    names: dict[str, str], server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names |= {"moved.example": "127.0.0.2", "shop.example": "127.0.0.1"}
    public = {"127.0.0.2"}
    monkeypatch.setattr(module, "is_public", lambda address: str(address) in public)
    with redirecting(f"http://shop.example:{server.server_port}/plain/a") as port:
        fetcher = GuardedFetcher([f"moved.example:{port}", f"shop.example:{server.server_port}"], QUICK)
        with pytest.raises(ImageError, match="no public address"):
            fetcher.download(f"http://moved.example:{port}/")
        assert not server.requests
        public.add("127.0.0.1")
        assert fetcher.download(f"http://moved.example:{port}/") == PICTURE


def test_what_a_redirect_has_to_say_beside_is_not_read(names: dict[str, str], server: PictureServer) -> None:
    sent: list[int] = []
    with redirecting(f"{server.url}/plain/a", sent) as port:
        fetcher = GuardedFetcher([f"127.0.0.2:{port}", place(server)], QUICK, allow_private=True)
        assert fetcher.download(f"http://127.0.0.2:{port}/") == PICTURE
    assert sent[0] < PIECES


@contextlib.contextmanager
def redirecting(target: str, sent: list[int] | None = None) -> Iterator[int]:
    """A server at 127.0.0.2 that redirects everything; its port. With `sent` it says more than anybody wants to hear,
    and counts the pieces of it that it got rid of."""
    with socket.create_server(("127.0.0.2", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):  # it is closed
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(2**16)
                        connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode())
                        if sent is not None:
                            sent.append(_talk(connection))

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def _talk(connection: socket.socket) -> int:
    for number in range(PIECES):
        try:
            connection.sendall(bytes(2**20))
        except OSError:
            return number
    return PIECES


def test_the_limits_of_every_download_hold(server: PictureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fetcher = GuardedFetcher([place(server)], QUICK, allow_private=True)
    with pytest.raises(ImageError, match="more than 5 redirects"):
        fetcher.download(f"{server.url}/loop/a")
    assert server.requests["/loop/a"] == fetch_module.MAX_REDIRECTS + 1
    with pytest.raises(ImageError, match=r"status 503 .* \(3 tries\)"):
        fetcher.download(f"{server.url}/down/a")
    with pytest.raises(ImageError, match=r"not whole after 2 s"):
        fetcher.download(f"{server.url}/drip/a")
    monkeypatch.setattr(fetch_module, "MAX_IMAGE_BYTES", 5_000)
    for mood in ("huge", "endless", "plain"):
        with pytest.raises(TooLargeError):
            fetcher.download(f"{server.url}/{mood}/a")
