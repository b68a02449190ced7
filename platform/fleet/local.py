"""A cluster of this machine that stays: started and ended by Ray's own launcher, with nodes that are processes.

    up(definition)      # `ray up` on the rendered file
    status(name)        # what the autoscaler knows
    down(name)          # ends this cluster's processes, and no others

Its folder is `~/.visnet/clusters/NAME`: the rendered file, the nodes, their logs. Costs about 10 s to start, and as
much for the first node that is needed. `platform/local_cluster.py` is the simpler thing that ends with its command.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from visnet.platform.doctor_checks import available_bytes
from visnet.platform.errors import ClusterError, SettingsError
from visnet.platform.fleet.definition import ClusterDefinition
from visnet.platform.fleet.local_config import Machine, rendered
from visnet.platform.fleet.local_nodes import LocalNodes
from visnet.platform.local_cluster import NOT_INHERITED, ray_environment
from visnet.platform.ports import PortBlock, claim_ports, is_free
from visnet.platform.ray_auth import ensure_token
from visnet.platform.ray_probe import dashboard_answers

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 180.0
DASHBOARD_PORT, GCS_PORT = 8265, 6379
"""Ray's own, taken where they are free, so that its commands find the cluster without being told."""
MEMORY_BYTES = 4 * 2**30
"""Of a node, where the system does not say what it has."""
_TAIL_LINES = 25
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LocalUp:
    """A cluster of this machine that was started."""

    name: str
    directory: Path
    ray_directory: Path
    gcs_port: int
    dashboard_port: int
    source: str
    """The cluster file it was made of."""

    @property
    def address(self) -> str:
        """What drivers join, `host:port`."""
        return f"127.0.0.1:{self.gcs_port}"

    @property
    def dashboard_url(self) -> str:
        """The dashboard and the jobs API."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def file(self) -> Path:
        """The rendered file, which `ray down` and `ray exec` take too."""
        return self.directory / "ray.yaml"

    @property
    def nodes(self) -> LocalNodes:
        return LocalNodes(self.directory)


def clusters_directory() -> Path:
    """Where the clusters of this machine have their folders."""
    return Path.home() / ".visnet" / "clusters"


def directory_of(name: str) -> Path:
    """The folder of a cluster, which `up` empties.

    Raises:
        SettingsError: the name would lead to a folder that is not a cluster's.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError(f"cluster_name (or --name): expected letters, digits, '-', '_' and '.', got {name!r}")
    return clusters_directory() / name


def find(name: str) -> LocalUp | None:
    """A cluster that was started and not ended, whether it answers or not.

    Raises:
        SettingsError: as `directory_of`.
    """
    directory = directory_of(name)
    try:
        known = json.loads((directory / "cluster.json").read_text())
    except OSError:
        return None
    return LocalUp(**{**known, "directory": directory, "ray_directory": Path(known["ray_directory"])})


def up(
    definition: ClusterDefinition,
    *,
    source: str,
    gpus: int,
    object_store_bytes: int,
    idle_timeout_s: float | None,
    timeout_s: float = START_TIMEOUT_S,
) -> LocalUp:
    """Start the cluster of a definition, its head alone; nodes come when work needs them.

    Args:
        source: the cluster file, for messages.
        gpus: real ones of this machine; 0: the nodes' GPUs are pretended.
        object_store_bytes: of each node.
        idle_timeout_s: instead of the file's; None for the file's.

    Raises:
        ClusterError: it runs already from another file, its files can't be written, or it did not start; with the end
            of its log.
        SettingsError: as `directory_of`.
    """
    ensure_token()
    name = definition.cluster_name
    if (known := find(name)) is not None:
        if dashboard_answers(known.dashboard_url, timeout_s=5.0):
            if known.source != source:
                raise ClusterError(
                    f"a cluster {name!r} runs already, from {known.source}: end it, or give another --name"
                )
            logger.info("cluster %s is up already", name)
            return known
        logger.warning("cluster %s was not ended properly; ending what is left of it", name)
        down(name)
    ports = claim_ports()
    try:
        try:
            made = _prepare(definition, source, ports, gpus, object_store_bytes, idle_timeout_s)
        except OSError as error:
            raise ClusterError(f"can't write the files of cluster {name}: {error}") from error
        try:
            _launch(made, timeout_s)
        except BaseException:
            made.nodes.end_all()
            shutil.rmtree(made.ray_directory, ignore_errors=True)
            (made.directory / "cluster.json").unlink(missing_ok=True)
            raise
    finally:
        ports.close()  # from now on the cluster itself holds them
    return made


def down(name: str) -> bool:
    """End a cluster of this machine: its processes, its nodes, its folder of Ray's sessions. Its logs stay until the
    next start.

    Returns:
        Whether there was one.

    Raises:
        ClusterError: processes did not end; the text names them.
    """
    known = find(name)
    if known is None:
        return False
    if left := known.nodes.end_all():
        raise ClusterError(f"processes of cluster {name} did not end: {left}")
    shutil.rmtree(known.ray_directory, ignore_errors=True)
    (known.directory / "cluster.json").unlink(missing_ok=True)
    return True


def _prepare(
    definition: ClusterDefinition,
    source: str,
    ports: PortBlock,
    gpus: int,
    object_store_bytes: int,
    idle_timeout_s: float | None,
) -> LocalUp:
    """The cluster's folder, with all that `ray up` needs."""
    directory = directory_of(definition.cluster_name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    # Short: Ray puts unix sockets sixty characters below it, and their paths are limited to 107.
    ray_directory = Path(tempfile.mkdtemp(prefix="visnet-", dir="/tmp"))
    made = LocalUp(
        name=definition.cluster_name,
        directory=directory,
        ray_directory=ray_directory,
        gcs_port=GCS_PORT if is_free(GCS_PORT) else ports.gcs,
        dashboard_port=DASHBOARD_PORT if is_free(DASHBOARD_PORT) else ports.dashboard,
        source=source,
    )
    machine = Machine(
        directory=directory,
        ray_directory=ray_directory,
        gcs_port=made.gcs_port,
        dashboard_port=made.dashboard_port,
        ray_client_port=ports.ray_client,
        environment={**ray_environment(ray_directory, ports), "RAY_AUTH_MODE": "token"},
        gpus=gpus,
        object_store_bytes=object_store_bytes,
        memory_bytes=available_bytes() or MEMORY_BYTES,
        idle_timeout_s=idle_timeout_s,
    )
    made.file.write_text(yaml.safe_dump(rendered(definition, machine), sort_keys=False))
    known = {**dataclasses.asdict(made), "directory": str(directory), "ray_directory": str(ray_directory)}
    new = directory / "cluster.json.new"
    new.write_text(json.dumps(known))
    new.replace(directory / "cluster.json")
    return made


def _launch(made: LocalUp, timeout_s: float) -> None:
    log = made.directory / "up.log"
    outer = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environment = yaml.safe_load(made.file.read_text())["provider"]["environment"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "up", "--yes", "--no-config-cache", str(made.file)]
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                command,
                env={**outer, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"Ray did not start within {timeout_s:g} s\n{_tail(log)}") from None
    if done.returncode:
        raise ClusterError(f"`ray up {made.file}` failed\n{_tail(log)}")
    deadline = time.monotonic() + timeout_s
    while not dashboard_answers(made.dashboard_url, timeout_s=2.0):
        if time.monotonic() > deadline or not made.nodes.every_process():
            raise ClusterError(f"the cluster's dashboard does not answer\n{_tail(log)}")
        time.sleep(0.2)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([*lines[-_TAIL_LINES:], f"(the whole log: {log})"])
