"""`visnet cluster`: the machines of cluster.yaml, here as processes, elsewhere, or as figures."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "up": "local_cli",
    "status": "local_cli",
    "kill": "local_cli",
    "down": "local_cli",
    "render": "render_cli",
    "plan": "plan_cli",
    "simulate": "simulation_cli",
}
"""Command and the module that has it, in the order of the help."""


class Commands(click.Group):
    """Imports a command only when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f"visnet.platform.fleet.{COMMANDS[name]}"), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands)
def cluster() -> None:
    """The machines of cluster.yaml: as processes on this machine, for Kubernetes, and in figures.

    \b
    On a cloud, Ray's own launcher takes the file as it stands:
      ray up cluster.yaml
    On this machine, with no cloud, its node types as processes that come and go with the work:
      visnet cluster up --local
      visnet submit train --catalog shop --store /srv/visnet
      visnet cluster down
    """
