"""What a process of visnet says on standard error: its own progress, and of others only warnings."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Show visnet's messages and everybody's warnings. For the start of a command or a worker."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("visnet").setLevel(logging.INFO)
    logging.getLogger("ray.train").setLevel(logging.WARNING)
