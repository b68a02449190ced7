"""`visnet`: the root of the command line. Sub-commands of other folders are found by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import click

from visnet.platform.catalog_cli import catalog
from visnet.platform.doctor import doctor
from visnet.platform.release_cli import release
from visnet.platform.search_cli import search
from visnet.platform.submit import submit

ENTRY_POINTS = "visnet.commands"
OWN = (catalog, doctor, release, search, submit)
ORDER = ("catalog", "train", "eval", "embed", "index", "recommend", "release", "serve", "search", "submit", "doctor")


class Root(click.Group):
    """Lists the commands in the order one uses them; imports a command only when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        known = {command.name or "" for command in OWN} | {entry.name for entry in entry_points(group=ENTRY_POINTS)}
        return [name for name in ORDER if name in known] + sorted(known - set(ORDER))

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        for command in OWN:
            if command.name == name:
                return command
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            loaded: Any = entry.load()
            return loaded if isinstance(loaded, click.Command) else None
        return None


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
