"""How the deployments of the service stand, for who looks after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ray import serve

from visnet.platform.placement import Plan
from visnet.serve.parts import EMBEDDER, SHARD, shard_names

Kind = Literal["ingress", "controller", "embedder", "shard"]
Standing = Literal["ready", "starting", "failed"]
_KINDS: dict[str, Kind] = {"ingress": "ingress", "controller": "controller", EMBEDDER: "embedder", SHARD: "shard"}
"""By the deployment's name."""
_STANDING: dict[str, Standing] = {"HEALTHY": "ready", "DEPLOY_FAILED": "failed"}
"""Serve's word for a deployment; with any other, one that lost a replica among them, Serve is at work on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """A deployment of the service."""

    name: str
    kind: Kind
    shard: int | None
    releases: tuple[str, ...]
    """Whose part it is; an embedder may be that of several."""
    state: Standing
    detail: str
    """Serve's own words, if it has any."""
    replicas: dict[str, int]
    """How many are in which state."""
    wanted: int | None
    """Replicas; None where they follow the load."""


def part_statuses(plans: Sequence[Plan]) -> list[PartStatus]:
    """The ingress, the controller, and the parts of releases; not for the driver, like `cluster_view`.

    Args:
        plans: what is known of who is part of what.
    """
    found = []
    for application, status in serve.status().applications.items():
        for name, deployment in status.deployments.items():
            if (kind := _KINDS.get(name)) is not None:
                found.append(_status(application, kind, deployment, plans))
    return sorted(found, key=lambda part: (part.kind, part.shard or 0, part.name))


def _status(application: str, kind: Kind, deployment: Any, plans: Sequence[Plan]) -> PartStatus:
    mine = [plan for plan in plans if any(part.name == application for part in plan.parts)]
    parts = [part for plan in mine for part in plan.parts if part.name == application]
    numbers = [shard_names(plan).index(application) for plan in mine] if kind == "shard" else []
    return PartStatus(
        name=kind if kind in ("ingress", "controller") else application,
        kind=kind,
        shard=numbers[0] if numbers else None,
        releases=tuple(sorted({plan.release for plan in mine})),
        state=_STANDING.get(str(getattr(deployment.status, "value", deployment.status)), "starting"),
        detail=deployment.message,
        replicas={str(getattr(state, "value", state)): count for state, count in deployment.replica_states.items()},
        wanted=next((part.replicas for part in parts if part.resizable), None),
    )
