"""Ask a Ray cluster whether it is there and takes our token, in seconds and before `ray.init` tries for a minute.

`ray.init` answers a wrong token and a missing cluster with the same `ConnectionError`, after 20 to 120 s of retries.
One raw call tells them apart; it needs gRPC and not Ray.
"""

import urllib.error
import urllib.request

from visnet.platform.ray_auth import auth_headers, token

_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def mapped_loopback(address: str) -> str:
    """`host:port` with a loopback host written `[::ffff:127.0.0.1]`, any other address as it is.

    Ray's client replaces `127.0.0.1` by the address of the machine's network interface, where a cluster that listens
    on loopback only does not answer; the IPv4-mapped form reaches both kinds of cluster.
    """
    host, _, port = address.rpartition(":")
    return f"[::ffff:127.0.0.1]:{port}" if host.strip("[]") in _LOOPBACK and port.isdigit() else address


def probe(address: str, *, timeout_s: float) -> str | None:
    """Why the cluster at `address` (host:port of its GCS) can't be used, in words; None if it can."""
    import grpc

    value = token()
    metadata = (("authorization", f"Bearer {value}"),) if value else ()
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_CLUSTER_ID)(b"", timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            return _reason(error.code().name, bool(value))
    return None


def dashboard_answers(url: str, *, timeout_s: float) -> bool:
    """Whether the dashboard at `url` is up and takes our token."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with opener.open(urllib.request.Request(f"{url}/api/jobs/", headers=auth_headers()), timeout=timeout_s):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _reason(code: str, sent_token: bool) -> str:
    if code == "UNAUTHENTICATED":
        if sent_token:
            return "it refuses our token: copy the cluster's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN"
        return "it wants a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or copy its ~/.ray/auth_token here"
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        return "nothing answers there: is it running, is that the head's port (not the dashboard's), is it open?"
    return f"what answers there is no Ray head that we know ({code})"
