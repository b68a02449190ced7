"""`visnet`: the root of the command line. Sub-commands of other folders are found by their entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

ENTRY_POINTS = "visnet.commands"
OWN = {
    "catalog": "visnet.platform.catalog_cli:catalog",
    "release": "visnet.platform.release_cli:release",
    "search": "visnet.platform.search_cli:search",
    "submit": "visnet.platform.submit:submit",
    "journal": "visnet.platform.journal_cli:journal",
    "key": "visnet.platform.keys_cli:key",
    "store": "visnet.platform.store_cli:store",
    "cluster": "visnet.platform.fleet.cli:cluster",
    "doctor": "visnet.platform.doctor:doctor",
}
ORDER = (
    *("catalog", "train", "eval", "embed", "index", "recommend", "release", "serve", "search", "key", "journal"),
    *("fold", "store", "submit", "cluster", "doctor"),
)


class Root(click.Group):
    """Lists the commands in the order one uses them; imports a command only when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(_commands(), key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if (entry := _commands().get(name)) is None:
            return None
        command: Any = entry.load()
        return command if isinstance(command, click.Command) else None


def _commands() -> dict[str, EntryPoint]:
    own = {name: EntryPoint(name, target, ENTRY_POINTS) for name, target in OWN.items()}
    return {**{entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}, **own}


@click.command(cls=Root, context_settings={"max_content_width": 110})
@click.version_option(package_name="visnet")
def main() -> None:
    """Find what looks alike in a shop's catalogue.

    \b
    From nothing to a service, all in the store (.visnet unless told otherwise):
      visnet catalog import fashion-mnist --name fashion-mnist
      visnet train --catalog fashion-mnist --where split=train --fit
      visnet eval --catalog fashion-mnist --where split=test
      visnet embed --catalog fashion-mnist --fit
      visnet index build --catalog fashion-mnist
      visnet recommend
      visnet release create && visnet release promote
      visnet serve --fit

    Sizes come from metadata.visnet in cluster.yaml; --fit cuts them to the machine at hand.
    """
