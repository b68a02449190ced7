"""Pools: which nodes of a cluster jobs may use and which the service, so that neither starves the other.

A pool is the nodes with one value of the label `pool` (`available_node_types.*.labels` in cluster.yaml). Ray keeps
work on them by label selectors, and its autoscaler starts the types that match. See docs/decisions/016.
"""

from __future__ import annotations

import dataclasses

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import POOL, ClusterDefinition, NodeType


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Nodes of a cluster."""

    name: str | None = None
    """Value of their label; None: all nodes."""
    types: tuple[NodeType, ...] = ()
    """Those of the cluster file that an autoscaler may add to it."""

    @property
    def selector(self) -> dict[str, str]:
        """Ray's label selector for tasks, actors, workers and replicas; empty for all nodes."""
        return {} if self.name is None else {POOL: self.name}

    def __str__(self) -> str:
        return "the cluster" if self.name is None else f"pool {self.name}"


ALL = Pool()
"""All nodes of a cluster that keeps none apart."""


def pool_of(definition: ClusterDefinition | None, name: str | None, *, setting: str) -> Pool:
    """A pool by its name.

    Args:
        definition: None without a cluster file: nothing is then known of nodes that may come.
        setting: where the name stands, for the message.

    Raises:
        SettingsError: no node type of the cluster file has that label.
    """
    workers = () if definition is None else definition.workers
    types = tuple(kind for kind in workers if name is None or kind.pool == name)
    if name is not None and workers and not types:
        known = ", ".join(sorted({kind.pool for kind in workers if kind.pool is not None})) or "none"
        raise SettingsError(
            f"metadata.visnet.{setting}: no node type has the label {POOL}: {name} (there are: {known}); "
            "add it to available_node_types, or set it to null"
        )
    return Pool(name=name, types=types)
