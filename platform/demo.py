"""The demo: from nothing to a visual search over 70,000 real products, by the same commands that a user has.

    make demo            python -m visnet.platform.demo           leaves the service up until Ctrl-C
    make demo ONCE=1     python -m visnet.platform.demo --once    ends by itself, with a status

One local Ray cluster serves all stages. Every stage is a `visnet` command that finds what it made before, so a second
run reuses what stands. The figures of each run are kept in the store as demo.json, and a contact sheet of real
answers of the running service beside it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from visnet.platform import demo_queries, demo_scenes
from visnet.platform.command import LOGICAL_CPUS_PER_CORE, Invocation, shared_options
from visnet.platform.errors import VisnetError
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.ports import is_free

logger = logging.getLogger("visnet.platform.demo")  # also where this file is run as __main__

CATALOG = "fashion-mnist"
TRAINING = ("--recipe", "visnet-tiny", "--batch-size", "256", "--learning-rate", "0.008")
"""The tiny network, a small batch and large steps: what two cores can train in minutes."""
STEPS = 1_200
DETECTOR = (
    *("--recipe-option", "image_size=96", "--steps", "180", "--set", "freeze_steps=60", "--set", "warmup_steps=20"),
    *("--set", "channels_last=true", "--set", "precision=bfloat16", "--set", "validation_scenes=100"),
)
"""Small pictures hold small scenes; what two cores can train in minutes."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One command of the demo."""

    name: str
    arguments: Sequence[str]
    rate: str = ""
    """The figure of its result that is its rate."""
    unit: str = ""


def stages(steps: int) -> list[Stage]:
    """The commands from an empty store to a release, in order."""
    catalog = ("--catalog", CATALOG)
    return [
        Stage(
            name="catalog",
            arguments=("catalog", "import", "fashion-mnist", "--name", CATALOG),
            rate="images_per_s",
            unit="images/s",
        ),
        Stage(
            name="train",
            arguments=("train", *catalog, "--where", "split=train", "--fit", "--steps", str(steps), *TRAINING),
            rate="anchors_per_s",
            unit="products/s",
        ),
        Stage(name="evaluate", arguments=("eval", *catalog, "--where", "split=test")),
        Stage(
            name="detector",
            arguments=("detector", "train", *catalog, "--where", "split=train", "--fit", *DETECTOR),
            rate="scenes_per_s",
            unit="scenes/s",
        ),
        Stage(
            name="localise",
            arguments=("detector", "eval", *catalog, "--where", "split=test", "--queries", "400"),
        ),
        Stage(name="embed", arguments=("embed", *catalog, "--fit"), rate="images_per_s", unit="images/s"),
        Stage(name="index", arguments=("index", "build", *catalog, "--fit"), rate="rows_per_s", unit="rows/s"),
        Stage(name="recommend", arguments=("recommend", "--fit"), rate="products_per_s", unit="products/s"),
        Stage(name="release", arguments=("release", "create", "--promote")),
    ]


@click.command()
@click.option("--once", is_flag=True, help="End after the questions, with a status, instead of staying up.")
@click.option("--steps", type=int, default=STEPS, show_default=True, help="Training steps.")
@shared_options
def demo(invocation: Invocation, once: bool, steps: int) -> None:
    """From nothing to a visual search over 70,000 real products."""
    settings = invocation.settings.serve
    if not is_free(settings.port, settings.host):
        raise VisnetError(
            f"port {settings.port} is in use: stop what listens there, or change metadata.visnet.serve.port"
        )
    started = time.monotonic()
    cpus = LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
    env = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with LocalCluster(num_cpus=cpus, object_store_bytes=2**30, env=env) as cluster:
        run = _Run(invocation, cluster.address)
        results = {stage.name: run(stage) for stage in stages(steps)}
        serve = Stage(name="serve", arguments=("serve", "--detach", "--fit"))
        results["serve"] = run(serve)
        logger.info("\n== ask: photos of products, through the running service")
        url = results["serve"]["url"]
        sheet = Path(invocation.store.local_path("demo-contact-sheet.png"))
        results["ask"] = demo_queries.ask(invocation.store, url, CATALOG, sheet=sheet)
        scenes = Path(invocation.store.local_path("demo-scenes.png"))
        results["scenes"] = demo_scenes.ask(invocation.store, url, CATALOG, sheet=scenes)
        report = {"seconds": round(time.monotonic() - started, 1), "stages": results}
        invocation.store.write("demo.json", json.dumps(report, indent=2).encode())
        invocation.report(report, _table(report, [*stages(steps), serve], invocation.store.path("demo.json"), sheet))
        if problems := [*demo_queries.problems(results), *demo_scenes.problems(results["scenes"])]:
            raise VisnetError(f"the demo ran, but {'; '.join(problems)}")
        if not once:
            logger.info("\nThe service is up until Ctrl-C. Open %s in a browser, or try it:\n%s", url, _try_it(url))
            _until_interrupted()


class _Run:
    """Runs a stage's command on the demo's cluster and returns its result."""

    def __init__(self, invocation: Invocation, address: str) -> None:
        self._shared = ["--json", "--store", invocation.store.location]
        if invocation.cluster_file is not None:
            self._shared += ["--cluster-file", str(invocation.cluster_file)]
        self._environment = {**os.environ, "RAY_ADDRESS": address}

    def __call__(self, stage: Stage) -> dict[str, Any]:
        logger.info("\n== %s: visnet %s", stage.name, " ".join(stage.arguments))
        started = time.monotonic()
        command = [sys.executable, "-m", "visnet.platform", *stage.arguments, *self._shared]
        finished = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, text=True, check=False)
        if finished.returncode != 0:
            raise VisnetError(f"the stage {stage.name} failed with exit code {finished.returncode}; see above")
        result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
        result["stage_seconds"] = round(time.monotonic() - started, 1)
        logger.info("%s: done in %.1f s", stage.name, result["stage_seconds"])
        return result


def _table(report: dict[str, Any], run: list[Stage], kept: str, sheet: Path) -> str:
    lines = ["", f"{'stage':10} {'seconds':>8} {'rate':>18}   result"]
    for stage in run:
        result = report["stages"][stage.name]
        rate = f"{result[stage.rate]:,.0f} {stage.unit}" if result.get(stage.rate) else ""
        note = "stood already" if result.get("reused") else demo_queries.summary(stage.name, result)
        lines.append(f"{stage.name:10} {result['stage_seconds']:8.1f} {rate:>18}   {note}")
    asked = report["stages"]["ask"]
    lines.append(f"{'ask':10} {asked['stage_seconds']:8.1f} {asked['photos_per_s']:>9,.0f} photos/s   ")
    lines[-1] += demo_queries.summary("ask", asked)
    evaluated = report["stages"]["evaluate"]
    lines += [
        "",
        f"retrieval: {evaluated['queries']:,} {evaluated['queries_kind']}, gallery of {evaluated['gallery']:,}",
    ]
    for name, figures in {"encoder": evaluated["figures"], **evaluated["baselines"]}.items():
        recalls = "  ".join(f"recall@{k} {value:.3f}" for k, value in figures["recall_at_k"].items())
        lines.append(f"  {name:10} {recalls}   category precision@20 {figures['category_precision_at_20']:.3f}")
    lines += ["", *demo_scenes.lines(report["stages"]["scenes"])]
    lines += ["", f"total {report['seconds']:.0f} s; figures in {kept}", f"contact sheet: {sheet}"]
    return "\n".join(lines)


def _try_it(url: str) -> str:
    return (
        f"  curl -s {url}/v1/products/test-00000/image -o product.png\n"
        f"  curl -s -F image=@product.png -F k=5 {url}/v1/search\n"
        f"  curl -s '{url}/v1/recommend/test-00000?k=5'\n"
        f"  and {url}/docs"
    )


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        logger.info("\nstopping")


if __name__ == "__main__":
    demo(prog_name="python -m visnet.platform.demo")
