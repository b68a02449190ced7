"""Options that several commands of the batch passes have."""

from __future__ import annotations

import click

encoder_option = click.option("--encoder", metavar="ID", help="Default: the newest.")
