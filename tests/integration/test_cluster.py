"""A real cluster on this machine: reachable over loopback only, with a token only, and gone afterwards."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from visnet.platform import cluster, ports, process_session
from visnet.platform.errors import ClusterError

pytestmark = [
    pytest.mark.integration,
    # Ray 2.60 imports Serve with arguments that newer pydantic calls deprecated.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]

LISTEN = "0A"
ROOT = Path(cluster.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(path))
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_JOB_ID"):
            patch.setenv(name, "")
            patch.delenv(name)
        yield path


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[cluster.LocalCluster]:
    with cluster.LocalCluster(num_cpus=4, num_gpus=2, object_store_bytes=100 * 2**20) as own:
        yield own


@pytest.fixture
def driver(running: cluster.LocalCluster) -> Iterator[cluster.Connection]:
    import ray

    yield cluster.connect(running.address)
    ray.shutdown()


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def listening(pids: list[int]) -> dict[str, set[int]]:
    """The ports that these processes listen on, by address, from /proc."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(entry))
    found: dict[str, set[int]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            host, _, port = fields[1].rpartition(":")
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in inodes:
                found.setdefault(readable(host), set()).add(int(port, 16))
    return found


def readable(host: str) -> str:
    """`0100007F` -> `127.0.0.1`: the kernel prints addresses as little-endian words."""
    words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
    return socket.inet_ntop(socket.AF_INET6 if len(words) == 4 else socket.AF_INET, b"".join(words))


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def test_runs_tasks_with_the_resources_asked_for(running: cluster.LocalCluster, driver: cluster.Connection) -> None:
    import ray

    @ray.remote(num_gpus=1)
    def where() -> tuple[str, str]:
        import visnet.platform.errors

        return sys.executable, visnet.platform.errors.__file__

    assert ray.cluster_resources()["CPU"] == 4
    assert ray.cluster_resources()["GPU"] == 2
    assert ray.get_runtime_context().namespace == "visnet"
    assert driver.dashboard_url == running.dashboard_url
    assert ray.get(where.remote()) == (sys.executable, str(ROOT / "platform" / "errors.py"))
    assert cluster.connect() == driver  # a second time: the connection stays


def test_the_token_is_enforced(running: cluster.LocalCluster, home: Path) -> None:
    url = f"{running.dashboard_url}/api/jobs/"
    token = (home / ".ray" / "auth_token").read_text()
    assert get(url)[0] in (401, 403)
    assert get(url, {"Authorization": "Bearer wrong"})[0] in (401, 403)
    assert get(url, {"Authorization": f"Bearer {token}"})[0] == 200


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({"RAY_AUTH_TOKEN": "wrong"}, "refuses our token"), ({"RAY_AUTH_MODE": "disabled"}, "wants a token")],
)
def test_a_driver_with_the_wrong_token_is_told_so_at_once(
    running: cluster.LocalCluster, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(ClusterError, match=expected):
        cluster.connect(running.address)
    assert time.monotonic() - start < 10


def test_serve_listens_on_loopback_only(running: cluster.LocalCluster, driver: cluster.Connection) -> None:
    import ray
    from ray import serve

    app = application(serve)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
    try:
        serve.run(app, name="test", route_prefix="/")
        assert get(f"http://127.0.0.1:{port}/x") == (200, b'{"v":2}')
        found = listening(running.processes())
        assert port in found["127.0.0.1"]
        # What Ray has no setting for: the port between deployments of each replica, which wants the token.
        open_to_all = found.pop("::", set())
        assert set(found) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert len(open_to_all) == 2
        assert all(refuses_strangers(each) for each in open_to_all)
    finally:
        serve.shutdown()
    assert ray.is_initialized()


def application(serve: Any) -> Any:
    from fastapi import FastAPI

    api = FastAPI()

    @serve.deployment
    class Leaf:
        async def add_one(self, value: int) -> int:
            return value + 1

    @serve.deployment
    @serve.ingress(api)
    class Ingress:
        def __init__(self, leaf: Any) -> None:
            self.leaf = leaf

        @api.get("/x")
        async def x(self) -> dict[str, int]:
            return {"v": await self.leaf.add_one.remote(1)}

    return Ingress.bind(Leaf.bind())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refuses_strangers(port: int) -> bool:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    return bool(caught.value.code() == grpc.StatusCode.UNAUTHENTICATED)


def test_a_job_runs_with_our_python(running: cluster.LocalCluster, home: Path) -> None:
    code = "import ray, visnet.platform.cluster as c; print('job in', c.connect().address, ray.is_initialized())"
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", running.dashboard_url]
    ran = subprocess.run(
        [*command, "--", "python", "-c", code], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "job in" in ran.stdout
    assert "True" in ran.stdout


@pytest.fixture
def disconnected() -> Iterator[None]:
    import ray

    yield
    ray.shutdown()


@pytest.mark.usefixtures("disconnected")
def test_stop_leaves_nothing_and_leaves_the_other_cluster_alone(running: cluster.LocalCluster) -> None:
    import ray

    other = cluster.LocalCluster(num_cpus=1, object_store_bytes=80 * 2**20)
    with other:
        assert other.address != running.address
        cluster.connect(other.address)
        worker = ray.get(ray.remote(lambda: os.getpid()).remote())
        pids = other.processes()
        assert worker in pids
        with pytest.raises(ClusterError, match="already connected"):
            cluster.connect(running.address)
        ray.shutdown()
        directory = other.directory
        keeper = pids[0]
        taken = set().union(*listening(pids).values())
    assert other.processes() == []
    assert process_session.family(keeper, f"VISNET_CLUSTER={directory}") == []
    assert not directory.exists()
    assert all(ports.is_free(port) for port in taken)
    assert get(f"{running.dashboard_url}/api/jobs/")[0] == 401


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_cluster_ends_with_the_command(home: Path, number: signal.Signals) -> None:
    code = (  # a process started in the background, as CI may be, ignores SIGINT unless told otherwise
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import json, sys, time; from visnet.platform import cluster, local_cluster\n"
        "made = []; start = local_cluster.LocalCluster.start\n"
        "local_cluster.LocalCluster.start = lambda self: made.append(start(self)) or made[0]\n"
        "with cluster.session(num_cpus=1, object_store_bytes=80 * 2**20) as c:\n"
        "    print(json.dumps([c.local, made[0].processes(), str(made[0].directory)]), flush=True)\n"
        "    time.sleep(300)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        try:
            assert command.stdout is not None
            local, pids, directory = json.loads(command.stdout.readline())
            assert local
            assert len(pids) > 5
            command.send_signal(number)
            command.wait(30)
            deadline = time.monotonic() + 15
            while process_session.family(pids[0], f"VISNET_CLUSTER={directory}") and time.monotonic() < deadline:
                time.sleep(0.2)
            assert process_session.family(pids[0], f"VISNET_CLUSTER={directory}") == []
            assert Path(directory).exists() == (number == signal.SIGKILL)
        finally:
            command.kill()
    shutil.rmtree(directory, ignore_errors=True)


def test_nothing_at_the_address_is_told_at_once(home: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1.*nothing answers"):
        cluster.connect("127.0.0.1:1", timeout_s=3)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:8265"])
def test_no_address_or_a_url_is_told_what_to_give(home: Path, address: str | None) -> None:
    with pytest.raises(ClusterError, match="host:port"):
        cluster.connect(address)


def test_a_cluster_that_does_not_start_shows_its_log(home: Path) -> None:
    broken = cluster.LocalCluster(object_store_bytes=1)
    with pytest.raises(ClusterError, match=r"Ray did not start[\s\S]*object"):
        broken.start()
    assert broken.processes() == []
    assert (broken.directory / "ray-start.log").exists()
    shutil.rmtree(broken.directory)


def test_a_cluster_that_is_too_slow_is_stopped(home: Path) -> None:
    slow = cluster.LocalCluster(timeout_s=0.5)
    with pytest.raises(ClusterError, match=r"did not answer within 0\.5 s"):
        slow.start()
    assert slow.processes() == []
    shutil.rmtree(slow.directory)
