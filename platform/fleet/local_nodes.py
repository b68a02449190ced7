"""The nodes of a cluster on one machine: processes, and a folder that says which they are.

The folder outlives any process, so that the autoscaler, `visnet cluster` and `ray up` / `ray down` see the same nodes.
Of every node it holds a file with its tags; its processes carry that file's name and the cluster's folder in their
environment, and only such processes are ever ended. Needs /proc.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from visnet.platform import process_session

CLUSTER, NODE = "VISNET_CLUSTER", "VISNET_NODE"
"""Environment of a node's processes: the cluster's folder, and the node's file."""
_NOBODY = -1
"""No session: for what is known by its mark alone."""
HEAD = "head"
"""The head's id."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LocalNode:
    """A node as its file has it."""

    id: str
    pid: int | None
    """The process that is the node; None for the head, which is several."""
    tags: dict[str, str]
    """Ray's: kind, type, status, launch request."""


class LocalNodes:
    """The nodes of the cluster in a folder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files = directory / "nodes"

    def environment(self, node: str) -> dict[str, str]:
        """What marks a process as one of a node's."""
        return {CLUSTER: str(self.directory), NODE: str(self._file(node))}

    def all(self) -> list[LocalNode]:
        """The head, from when it is added until it is ended, and the workers of which a process is alive."""
        found = []
        for file in sorted(self._files.glob("*.json")):
            try:
                node = LocalNode(**json.loads(file.read_text()))
            except (OSError, ValueError):  # ended a moment ago
                continue
            if node.pid is None or self.processes(node):
                found.append(node)
            else:
                file.unlink(missing_ok=True)
        return found

    def get(self, node: str) -> LocalNode | None:
        """A node, alive or not; None if it was ended."""
        try:
            return LocalNode(**json.loads(self._file(node).read_text()))
        except OSError:
            return None

    def add_head(self, tags: Mapping[str, str]) -> None:
        """Note the head; its processes are started with its `environment`."""
        self._write(LocalNode(id=HEAD, pid=None, tags=dict(tags)))

    def start(self, command: Sequence[str], tags: Mapping[str, str], env: Mapping[str, str]) -> LocalNode:
        """Start a worker.

        Args:
            command: runs as long as the node does.
            env: its whole environment; the marks are added, and `RAY_CLOUD_INSTANCE_ID`, by which the autoscaler tells
                which of its nodes has joined.
        """
        node = f"{tags.get('ray-user-node-type', 'node')}-{secrets.token_hex(4)}"
        self._log(node).parent.mkdir(parents=True, exist_ok=True)
        with self._log(node).open("wb") as log:
            started = subprocess.Popen(
                list(command),
                env={**env, **self.environment(node), "RAY_CLOUD_INSTANCE_ID": node},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        made = LocalNode(id=node, pid=started.pid, tags=dict(tags))
        self._write(made)
        return made

    def retag(self, node: str, tags: Mapping[str, str]) -> None:
        """Change some of a node's tags; nothing for a node that was ended."""
        if (known := self.get(node)) is not None:
            self._write(dataclasses.replace(known, tags={**known.tags, **tags}))

    def end(self, node: str) -> list[int]:
        """End a node's processes, and forget it.

        Returns:
            What is still alive: empty unless a process is stuck in the kernel.
        """
        left = process_session.end_family(_NOBODY, self._mark(node))
        self._file(node).unlink(missing_ok=True)
        return left

    def kill(self, node: str) -> list[int]:
        """End a node's processes at once and without a word, as a machine dies. Returns their ids."""
        killed = []
        for pid in process_session.family(_NOBODY, self._mark(node)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        return killed

    def end_all(self) -> list[int]:
        """End every process of this cluster, the head's first: it would start new nodes. Returns as `end`."""
        self.end(HEAD)
        left = process_session.end_family(_NOBODY, f"{CLUSTER}={self.directory}")
        for file in self._files.glob("*.json"):
            file.unlink(missing_ok=True)
        return left

    def log(self, node: str) -> str:
        """What a node has printed."""
        try:
            return self._log(node).read_text(errors="replace")
        except OSError:
            return ""

    def processes(self, node: LocalNode) -> list[int]:
        """The process ids of a node that are alive."""
        return process_session.family(_NOBODY, self._mark(node.id))

    def every_process(self) -> list[int]:
        """The process ids of the whole cluster that are alive."""
        return process_session.family(_NOBODY, f"{CLUSTER}={self.directory}")

    def _mark(self, node: str) -> str:
        return f"{NODE}={self._file(node)}"

    def _file(self, node: str) -> Path:
        return self._files / f"{node}.json"

    def _log(self, node: str) -> Path:
        return self.directory / "logs" / f"{node}.log"

    def _write(self, node: LocalNode) -> None:
        self._files.mkdir(parents=True, exist_ok=True)
        new = self._file(f".{node.id}-{os.getpid()}")
        new.write_text(json.dumps(dataclasses.asdict(node)))
        new.replace(self._file(node.id))
