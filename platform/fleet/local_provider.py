"""Ray's view of a cluster on one machine: a node provider whose nodes are processes.

Ray's launcher (`ray up`, `ray down`) and its autoscaler load it by its name from the rendered file (`local_config.py`)
and then decide for themselves: here they only start and end processes. A provider is to Ray what AWS or GCP are.
See docs/decisions/016.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from visnet.platform.errors import ClusterError
from visnet.platform.fleet.local_nodes import HEAD, LocalNode, LocalNodes

LOOPBACK = "127.0.0.1"
UP = "the node is up"
"""What `local_node.py` says when it is."""
START_S = 60.0
LOG_CHARACTERS = 2_000
_STOP = "ray stop"
_THE_HEADS = ("RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS")
"""Variables that say what a node has: the autoscaler, which runs on the head, would pass the head's on."""


class LocalProvider(NodeProvider):  # type: ignore[misc]
    """Nodes that are processes of this machine.

    Args:
        provider_config: as `local_config.rendered` makes it: `state_dir`, `ray_dir`, `gcs_port`, `gpus`, `environment`.
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._nodes = LocalNodes(Path(provider_config["state_dir"]))

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [node.id for node in self._nodes.all() if tag_filters.items() <= node.tags.items()]

    def is_running(self, node_id: str) -> bool:
        return self._alive(node_id) is not None

    def is_terminated(self, node_id: str) -> bool:
        return self._alive(node_id) is None

    def node_tags(self, node_id: str) -> dict[str, str]:
        node = self._nodes.get(node_id)
        return {} if node is None else dict(node.tags)

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._nodes.retag(node_id, tags)

    def external_ip(self, _node_id: str) -> str:
        return LOOPBACK

    def internal_ip(self, _node_id: str) -> str:
        return LOOPBACK

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> None:
        """The head, as `ray up` makes it; its processes are then started by the command runner."""
        if tags.get(TAG_RAY_NODE_KIND) != NODE_KIND_HEAD:
            raise ClusterError("a worker is started with its resources, by Ray's autoscaler")
        self._nodes.add_head(tags)

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Start workers, and leave it to them to join the cluster."""
        ready = {**tags, TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}
        outer = {name: value for name, value in os.environ.items() if name not in _THE_HEADS}
        env = {**outer, **self.provider_config["environment"], "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE]}
        gpus = int(resources.get("GPU", 0))
        made = []
        for _ in range(count):
            command = self._command(resources, labels)
            made.append(self._nodes.start(command, ready, {**env, **self._visible_gpus(gpus)}))
        for node in made:
            self._await_start(node)

    def terminate_node(self, node_id: str) -> None:
        if left := self._nodes.end(node_id):
            raise ClusterError(f"processes of node {node_id} did not end: {left}")

    def get_command_runner(
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: Any,
        use_internal_ip: bool,
        docker_config: dict[str, Any] | None = None,
    ) -> LocalRunner:
        environment = {**self.provider_config["environment"], **self._nodes.environment(node_id)}
        return LocalRunner(self._nodes.directory, environment)

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config

    def _command(self, resources: Mapping[str, float], labels: Mapping[str, str]) -> list[str]:
        """The command that is a node as long as it runs."""
        given = {
            "gcs_address": f"{LOOPBACK}:{self.provider_config['gcs_port']}",
            "temp_dir": f"{self.provider_config['ray_dir']}/{secrets.token_hex(4)}",
            "resources": dict(resources),
            "labels": dict(labels),
        }
        return [sys.executable, "-m", "visnet.platform.fleet.local_node", json.dumps(given)]

    def _await_start(self, node: LocalNode) -> None:
        """Wait until a node is up; one that ends at once is told to the autoscaler, which then waits before the next.

        Raises:
            ClusterError: it ended; with the end of its log.
        """
        deadline = time.monotonic() + START_S
        missed = 0  # looks that found no process: one that is just becoming its program has nothing to be known by
        while time.monotonic() < deadline:
            missed = 0 if self._nodes.processes(node) else missed + 1
            said = self._nodes.log(node.id)  # read last, so that of one that ended nothing is missing
            if UP in said:
                return
            if missed > 1:
                raise ClusterError(f"node {node.id} ended while it started:\n{said[-LOG_CHARACTERS:]}")
            time.sleep(0.2)

    def _alive(self, node_id: str) -> LocalNode | None:
        return next((node for node in self._nodes.all() if node.id == node_id), None)

    def _visible_gpus(self, wanted: int) -> dict[str, str]:
        """The machine's own GPUs for one more node, in turn; nothing where there are none and they are pretended."""
        cards = self.provider_config["gpus"]
        if not wanted or not cards:
            return {}
        first = sum(node.id != HEAD for node in self._nodes.all()) * wanted
        return {"CUDA_VISIBLE_DEVICES": ",".join(str((first + number) % cards) for number in range(wanted))}


class LocalRunner(CommandRunnerInterface):  # type: ignore[misc]
    """What Ray's launcher otherwise does over ssh and rsync, done here.

    `~/` in a target is the cluster's folder, so that nothing lands in the user's home; and `ray stop`, which would end
    every Ray of the machine, is left out: the provider ends the nodes.
    """

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = environment

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,
        exit_on_fail: bool = False,
        port_forward: Any = None,
        with_output: bool = False,
        environment_variables: dict[str, object] | None = None,
        run_env: str = "auto",
        ssh_options_override_ssh_key: str = "",
        shutdown_after_run: bool = False,
    ) -> str:
        if not cmd or cmd.strip() == _STOP:
            return ""
        given = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (environment_variables or {}).items()
        }
        done = subprocess.run(
            ["bash", "-c", cmd],
            env={**os.environ, **self._environment, **given},
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if with_output else None,
            check=False,
        )
        if done.returncode and exit_on_fail:
            sys.exit(done.returncode)
        done.check_returncode()
        return done.stdout.decode() if with_output else ""

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        place = self._home / target.removeprefix("~/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copy(source, place)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        shutil.copy(self._home / source.removeprefix("~/"), target)

    def run_init(self, **_: Any) -> None:
        """Nothing: there is no container."""

    def remote_shell_command_str(self) -> str:
        return "bash"
