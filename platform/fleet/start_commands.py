"""What the start commands of a cluster file give to Ray's processes: taken from the file, so that no rendering of the
cluster repeats it by hand. Serve's flags must be equal on all nodes, or its parts don't understand each other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from visnet.platform.errors import SettingsError

HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def start_environment(content: Mapping[str, Any]) -> dict[str, str]:
    """The variables before `ray start`, which are the same for the head and the workers.

    Args:
        content: the whole cluster file.

    Raises:
        SettingsError: a list of commands has no `ray start`, or the head's variables are not the workers'.
    """
    head, worker = (_environment(content, key) for key in (HEAD, WORKER))
    if head != worker:
        differing = sorted(name for name in head.keys() | worker.keys() if head.get(name) != worker.get(name))
        raise SettingsError(
            f"{HEAD} and {WORKER}: expected the same variables before `ray start`, but {', '.join(differing)} differ"
        )
    return head


def start_option(content: Mapping[str, Any], key: str, option: str) -> str | None:
    """The value of an option of `ray start`, such as metrics-export-port; None if it is not given."""
    prefix = f"--{option}="
    return next((word.removeprefix(prefix) for word in _words(content, key) if word.startswith(prefix)), None)


def _environment(content: Mapping[str, Any], key: str) -> dict[str, str]:
    words = _words(content, key)
    before = words[: words.index("ray")]
    return dict(word.split("=", 1) for word in before if _ASSIGNMENT.match(word))


def _words(content: Mapping[str, Any], key: str) -> list[str]:
    """The words of the simple command that starts Ray."""
    for command in content.get(key) or []:
        for part in str(command).split(";"):
            words = shlex.split(part)
            if "ray" in words and words[words.index("ray") :][:2] == ["ray", "start"]:
                return words
    raise SettingsError(f"{key}: expected a command with `ray start`, got {content.get(key)!r}")
