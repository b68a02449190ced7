"""`visnet cluster up --local`, `status`, `down`: the cluster file's cluster on this machine."""

from __future__ import annotations

import dataclasses

import click

from visnet.platform.command import Invocation, object_store_bytes, shared_options
from visnet.platform.errors import ClusterError, NotFoundError, SettingsError
from visnet.platform.fleet import local
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.local_status import Status, read_status, table

IDLE_TIMEOUT_S = 60.0
NODES_SHARE = 4
"""A node's object store is so many times smaller than that of a command's own cluster: there are several."""
_NAME = click.option("--name", metavar="NAME", help="Instead of the cluster file's cluster_name.")


@click.command()
@click.option("--local", "here", is_flag=True, help="On this machine; a cloud's is started by ray up cluster.yaml.")
@_NAME
@click.option(
    "--idle-timeout-s", type=float, default=IDLE_TIMEOUT_S, show_default=True, help="Idle nodes go after so long."
)
@shared_options
def up(invocation: Invocation, here: bool, name: str | None, idle_timeout_s: float) -> None:
    """Start cluster.yaml's cluster on this machine: the head now, nodes when a job or a replica needs them.

    Its node types are processes with logical CPUs and GPUs, and Ray's own autoscaler starts and ends them. On a machine
    without GPUs these are pretended: what asks for one runs on the CPU. Other Rays of the machine are left alone.

    \b
    Then, from the checkout:
      visnet submit train --catalog shop
      visnet submit serve
      visnet cluster status
      visnet cluster down
    """
    if not here:
        raise SettingsError(
            "only --local is visnet's own: on a cloud Ray's launcher takes the file, ray up cluster.yaml"
        )
    definition = _definition(invocation, name)
    made = local.up(
        definition,
        source=str(invocation.cluster_file.resolve() if invocation.cluster_file else ""),
        gpus=_gpus(),
        object_store_bytes=object_store_bytes() // NODES_SHARE,
        idle_timeout_s=idle_timeout_s,
    )
    result = {"name": made.name, "address": made.address, "dashboard": made.dashboard_url, "file": str(made.file)}
    invocation.report(result, _welcome(made))


@click.command()
@_NAME
@shared_options
def status(invocation: Invocation, name: str | None) -> None:
    """What runs on this machine's cluster: nodes, what they are used for, and what waits for room."""
    known = _known(invocation, name)
    found = read_status(known.address, known.nodes)
    invocation.report(dataclasses.asdict(found), _described(known, found))


@click.command()
@click.argument("node")
@_NAME
@shared_options
def kill(invocation: Invocation, node: str, name: str | None) -> None:
    """Let a node of this machine's cluster die, to see what becomes of the work.

    \b
    Example:
      visnet cluster status           # names the nodes
      visnet cluster kill gpu-1a2b3c4d
    """
    nodes = _known(invocation, name).nodes
    if not (killed := nodes.kill(node)):
        alive = ", ".join(one.id for one in nodes.all()) or "none"
        raise NotFoundError(f"no node {node}; there are: {alive}")
    invocation.report({"node": node, "processes": len(killed)}, f"killed {len(killed)} processes of {node}")


@click.command()
@_NAME
@shared_options
def down(invocation: Invocation, name: str | None) -> None:
    """End this machine's cluster with all that runs on it; no other Ray is touched. What is in the store stays."""
    wanted = name or _definition(invocation, None).cluster_name
    was_there = local.down(wanted)
    invocation.report(
        {"name": wanted, "ended": was_there}, f"cluster {wanted} {'ended' if was_there else 'was not up'}"
    )


def _definition(invocation: Invocation, name: str | None) -> ClusterDefinition:
    if invocation.cluster_file is None:
        raise SettingsError("no cluster.yaml here or in a folder above: pass --cluster-file")
    definition = read_definition(invocation.cluster_file)
    return definition if name is None else dataclasses.replace(definition, cluster_name=name)


def _known(invocation: Invocation, name: str | None) -> local.LocalUp:
    wanted = name or _definition(invocation, None).cluster_name
    if (known := local.find(wanted)) is None:
        raise ClusterError(f"no cluster {wanted} on this machine: visnet cluster up --local starts it")
    return known


def _gpus() -> int:
    from ray._private.accelerators import NvidiaGPUAcceleratorManager  # what `ray start` itself counts

    return int(NvidiaGPUAcceleratorManager.get_current_node_num_accelerators())


def _welcome(made: local.LocalUp) -> str:
    address = "" if made.dashboard_port == local.DASHBOARD_PORT else f" --address {made.dashboard_url}"
    return (
        f"cluster {made.name} is up, with its head alone; nodes come when they are needed\n"
        f"  jobs       visnet submit{address} train --catalog shop    (and embed, index, serve, ...)\n"
        f"  look       visnet cluster status, or {made.dashboard_url} (it asks for the token in ~/.ray/auth_token)\n"
        f"  end        visnet cluster down"
    )


def _described(known: local.LocalUp, found: Status) -> str:
    return f"cluster {known.name}, jobs API {known.dashboard_url}\n{table(found)}"
