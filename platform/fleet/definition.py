"""The cluster file's machines as plain data: the one reading that all renderings and plans start from.

Ray's own launcher reads the same file (`ray up cluster.yaml`); what is checked here is what it would find out late.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic
import yaml
from annotated_types import Ge

from visnet.platform.errors import SettingsError

POOL = "pool"
"""Label of a node type that says what may run on its nodes: `work` or `serve`, see docs/decisions/016."""

_IGNORING_THE_REST = pydantic.ConfigDict(extra="ignore")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeType:
    """Machines that are alike."""

    __pydantic_config__: ClassVar = _IGNORING_THE_REST

    name: str
    resources: Mapping[str, Annotated[float, Ge(0)]] = dataclasses.field(default_factory=dict)
    """Ray's logical resources of one node: CPU, GPU, memory (bytes), object_store_memory (bytes), and custom ones."""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    min_workers: Annotated[int, Ge(0)] = 0
    max_workers: Annotated[int, Ge(0)] = 0
    """0 for the head."""
    idle_timeout_s: Annotated[float, Ge(0)] | None = None
    """After which an idle node is given back; None for the cluster's own."""
    node_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The provider's: instance type, image, disks."""

    @property
    def cpus(self) -> float:
        return self.resources.get("CPU", 0.0)

    @property
    def gpus(self) -> float:
        return self.resources.get("GPU", 0.0)

    @property
    def pool(self) -> str | None:
        return self.labels.get(POOL)

    @property
    def instance_type(self) -> str | None:
        """What the cloud calls such a machine, if the file says it."""
        return self.node_config.get("InstanceType") or self.node_config.get("machineType")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClusterDefinition:
    """What `cluster.yaml` says of the machines."""

    __pydantic_config__: ClassVar = _IGNORING_THE_REST

    cluster_name: str
    max_workers: Annotated[int, Ge(0)]
    """Workers of all types together, at most."""
    upscaling_speed: Annotated[float, Ge(0)] = 1.0
    idle_timeout_minutes: Annotated[float, Ge(0)] = 5.0
    head: NodeType
    workers: tuple[NodeType, ...]
    """The other types, in the file's order."""
    content: Mapping[str, Any]
    """The whole file."""

    def idle_timeout_s(self, kind: NodeType) -> float:
        """After how many idle seconds a node of that type is given back."""
        return 60.0 * self.idle_timeout_minutes if kind.idle_timeout_s is None else kind.idle_timeout_s


def read_definition(path: Path) -> ClusterDefinition:
    """Read a cluster file's machines.

    Raises:
        SettingsError: it can't be read, or what it says of the machines can't be; the text names the key.
    """
    return parse_definition(_read(path), source=str(path))


def find_definition(path: Path) -> ClusterDefinition | None:
    """The same; None for a file that holds settings only.

    Raises:
        SettingsError: as `read_definition`.
    """
    content = _read(path)
    named = isinstance(content, dict) and "available_node_types" in content
    return parse_definition(content, source=str(path)) if named else None


def parse_definition(content: Any, *, source: str) -> ClusterDefinition:
    """Check a cluster file's content and make a definition of it.

    Raises:
        SettingsError: every wrong key, with what was expected and what came.
    """
    types = content.get("available_node_types") if isinstance(content, dict) else None
    if not isinstance(types, dict) or not types:
        raise SettingsError(f"{source}: available_node_types: expected the types of machines, got {types!r}")
    head = content.get("head_node_type")
    if head not in types:
        raise SettingsError(f"{source}: head_node_type: expected one of {', '.join(types)}, got {head!r}")
    kinds = {name: {**(kind or {}), "name": name} for name, kind in types.items()}
    given = {**content, "head": kinds.pop(head), "workers": tuple(kinds.values()), "content": content}
    try:
        definition = pydantic.TypeAdapter(ClusterDefinition).validate_python(given)
    except pydantic.ValidationError as error:
        raise SettingsError(f"{source}: " + "; ".join(_explain(wrong) for wrong in error.errors())) from None
    _check(definition, source)
    return definition


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"can't read {path}: {error}") from None


def _check(definition: ClusterDefinition, source: str) -> None:
    most = sum(kind.max_workers for kind in definition.workers)
    pools = {kind.pool for kind in definition.workers}
    for kind in definition.workers:
        if kind.min_workers > kind.max_workers:
            raise SettingsError(
                f"{source}: available_node_types.{kind.name}.min_workers: expected at most max_workers "
                f"({kind.max_workers}), got {kind.min_workers}"
            )
    if len(pools) > 1 and most > definition.max_workers:
        raise SettingsError(
            f"{source}: max_workers: expected at least {most}, what the types may have together, got "
            f"{definition.max_workers}: below it one pool of nodes can take what another is promised"
        )


def _explain(wrong: Any) -> str:
    key = ".".join(str(part) for part in wrong["loc"])
    return f"{key}: {wrong['msg'][0].lower()}{wrong['msg'][1:]}, got {wrong['input']!r}"
