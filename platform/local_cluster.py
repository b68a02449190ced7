"""A Ray cluster of one machine, for the length of a command: nobody else reaches it, nothing of it is left behind.

It starts `ray start --head --block` under a keeper (`process_session.py`) in a session of its own, so Ctrl-C in the
terminal does not reach it and it ends when this process does, even by SIGKILL. Costs about 5 s to
start and 3 s to stop, 8 s with Serve running.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from visnet.platform import process_session
from visnet.platform.errors import ClusterError
from visnet.platform.haproxy import serve_environment
from visnet.platform.ports import PortBlock, claim_ports
from visnet.platform.ray_auth import ensure_token
from visnet.platform.ray_probe import dashboard_answers, mapped_loopback, probe

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
OBJECT_STORE_BYTES = 512 * 2**20

_ROOT = Path(__file__).resolve().parent.parent
_TAIL_LINES = 25
_T = TypeVar("_T")
# An outer cluster or job says where it is in these; the new cluster is somewhere else.
NOT_INHERITED = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_NAMESPACE")


class LocalCluster:
    """A Ray head on this machine, reachable over loopback only, with the token of `ray_auth`.

    Use as a context manager, or call `start()` and `stop()`. `stop()` ends only this cluster's own processes; other
    Ray clusters of the machine are not touched.

    Args:
        num_cpus: logical CPUs to offer; None for the machine's own.
        num_gpus: logical GPUs to offer; None for the machine's own. More than it has makes pretended ones.
        object_store_bytes: size of the object store, in shared memory.
        env: further variables for every process of the cluster; these win over the defaults.
        timeout_s: how long the start may take.
        keep_logs: leave the cluster's folder (`directory`) after `stop()`.
    """

    def __init__(
        self,
        *,
        num_cpus: int | None = None,
        num_gpus: int | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        env: Mapping[str, str] | None = None,
        timeout_s: float = START_TIMEOUT_S,
        keep_logs: bool = False,
    ) -> None:
        self._resources = {"num-cpus": num_cpus, "num-gpus": num_gpus, "object-store-memory": object_store_bytes}
        self._env = dict(env or {})
        self._timeout_s = timeout_s
        self.keep_logs = keep_logs
        self._directory: Path | None = None
        self._ports: PortBlock | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._address: str | None = None

    @property
    def address(self) -> str:
        """What `ray.init` takes: `[::ffff:127.0.0.1]:port`, as Ray replaces plain loopback by the machine's address."""
        return _started(self._address)

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard and the jobs API answer (with the token), `http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{_started(self._ports).dashboard}"

    @property
    def directory(self) -> Path:
        """The cluster's folder: Ray's sessions and logs, HAProxy's files, `ray-start.log`."""
        return _started(self._directory)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the cluster and wait until it answers.

        Raises:
            ClusterError: it ended, or did not answer in time; with the end of its log.
        """
        if self._keeper is not None:
            raise ClusterError("this cluster is already running")
        ensure_token()
        # Short: Ray puts unix sockets sixty characters below it, and their paths are limited to 107.
        self._directory = Path(tempfile.mkdtemp(prefix="visnet-", dir="/tmp"))
        try:
            self._ports = claim_ports()
            self._keeper = self._spawn(self._directory, self._ports)
            self._await_start()
        except BaseException as error:
            self.keep_logs = self.keep_logs or not isinstance(error, KeyboardInterrupt)
            self.stop()
            raise
        logger.info("started a local Ray cluster, dashboard %s, logs %s", self.dashboard_url, self._directory)
        return self

    def stop(self) -> None:
        """End every process of this cluster and give its ports and folder back. Safe to call twice."""
        keeper, self._keeper = self._keeper, None
        try:
            if keeper is not None:
                self._end(keeper)
        finally:
            if self._ports is not None:
                self._ports.close()
            if self._directory is not None and not self.keep_logs:
                shutil.rmtree(self._directory, ignore_errors=True)
            self._address = None

    def processes(self) -> list[int]:
        """The process ids of this cluster that are alive, the keeper's first; empty when it is stopped."""
        if self._keeper is None:
            return []
        return sorted(process_session.family(self._keeper.pid, self._mark))

    @property
    def _mark(self) -> str:
        return f"VISNET_CLUSTER={self._directory}"

    def _spawn(self, directory: Path, ports: PortBlock) -> subprocess.Popen[bytes]:
        with (directory / "ray-start.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-I", process_session.__file__, self._mark, *self._command(directory, ports)],
                env=self._environment(directory, ports),
                stdin=subprocess.PIPE,  # closed by stop() or by our end: the keeper then ends the cluster
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _command(self, directory: Path, ports: PortBlock) -> list[str]:
        options = {
            "node-ip-address": "127.0.0.1",
            "port": 0,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": ports.dashboard,
            "dashboard-agent-listen-port": 0,
            "ray-client-server-port": ports.ray_client,
            "min-worker-port": 0,
            "max-worker-port": 0,
            "temp-dir": directory,
            "log-color": "false",
            **self._resources,
        }
        given = [f"--{name}={value}" for name, value in options.items() if value is not None]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        return [*ray, *given]

    def _environment(self, directory: Path, ports: PortBlock) -> dict[str, str]:
        outer = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        return {**outer, **ray_environment(directory, ports), **self._env, **dict([self._mark.split("=", 1)])}

    def _await_start(self) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._answers():
            if _started(self._keeper).poll() is not None:
                raise ClusterError(f"Ray did not start: `ray start` ended\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ClusterError(f"Ray did not answer within {self._timeout_s:g} s\n{self._log_tail()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            if written := (self.directory / "ray_current_cluster").read_text().strip():
                self._address = mapped_loopback(written)
        if self._address is None:
            return False
        return probe(self._address, timeout_s=2.0) is None and dashboard_answers(self.dashboard_url, timeout_s=2.0)

    def _log_tail(self) -> str:
        log = self.directory / "ray-start.log"
        lines = log.read_text(errors="replace").splitlines()
        where = f"(the whole log: {log}; Ray's own: {self.directory}/session_latest/logs)"
        return "\n".join([*lines[-_TAIL_LINES:], where])

    def _end(self, keeper: subprocess.Popen[bytes]) -> None:
        assert keeper.stdin is not None
        keeper.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.wait(process_session.GRACE_S + process_session.TERM_S + 6.0)
        left = process_session.end_family(keeper.pid, self._mark)
        keeper.wait()
        if left:
            raise ClusterError(f"processes of the local Ray cluster did not end: {left}")


def ray_environment(directory: Path, ports: PortBlock) -> dict[str, str]:
    """What the processes of a Ray on this machine need in their environment; all of it listens on loopback.

    Args:
        directory: the cluster's own; HAProxy's files are made in it.
    """
    (directory / "ha").mkdir()
    return {
        **serve_environment(directory / "ha", ports),
        "PATH": _joined(str(Path(sys.executable).parent), os.environ.get("PATH")),
        "PYTHONPATH": _joined(str(_ROOT) if (_ROOT / "visnet.py").is_file() else None, os.environ.get("PYTHONPATH")),
        # Makes the node's address 127.0.0.1, which Ray otherwise replaces: everything then listens on loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "SPT_NOENV": "1",  # a process's title would be written over its environment, and so over our mark
        "DASHBOARD_METRIC_PORT": str(ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(ports.autoscaler_metrics),
    }


def _joined(first: str | None, rest: str | None) -> str:
    return os.pathsep.join(part for part in (first, rest) if part)


def _started(value: _T | None) -> _T:
    if value is None:
        raise ClusterError("the local Ray cluster is not running")
    return value
