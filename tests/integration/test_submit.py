"""Jobs on a cluster whose nodes know nothing of visnet: all they have of it is what a job brings."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from visnet.platform import submit
from visnet.platform.catalog import write_catalog
from visnet.platform.importers.folder import open_source
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.manifest import commit, finished
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

ROOT = Path(submit.__file__).resolve().parent.parent
TIMEOUT_S = 150


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_JOB_ID"):
            patch.setenv(name, "")
            patch.delenv(name)
        with LocalCluster(num_cpus=8, object_store_bytes=150 * 2**20, env={"PYTHONPATH": ""}) as own:
            yield own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in it that holds the catalogue `tiny`."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("shop")
    for category, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        (folder / "pictures" / category).mkdir(parents=True)
        for number in range(12):
            picture = Image.new("RGB", (32, 32), colour)
            picture.paste((255, 255, 255), (number, number, number + 9, number + 14))
            picture.save(folder / "pictures" / category / f"{number}.png")
    source = open_source(str(folder / "pictures"))
    write_catalog(
        Store(str(folder / "store")),
        name="tiny",
        version=source.version,
        source=source.description,
        batches=source.batches(),
    )
    return folder


def run(command: list[str], cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.fixture
def submitted(running: LocalCluster) -> Callable[..., Any]:
    """Runs `visnet submit --json` and returns the exit code, the report and what went to standard error."""

    def submit(*arguments: str, cwd: Path = ROOT) -> tuple[int, Any, str]:
        code = "from visnet.platform.submit import submit; submit()"
        ran = run(["-c", code, *arguments, "--address", running.dashboard_url, "--json"], cwd)
        return ran.returncode, json.loads(ran.stdout.splitlines()[-1]) if ran.stdout else None, ran.stderr

    return submit


def test_ray_itself_runs_visnet_from_the_working_directory(running: LocalCluster) -> None:
    code = (
        "import ray, visnet.platform.errors as driver; ray.init(log_to_driver=False)\n"
        "@ray.remote\n"
        "def where():\n"
        "    import uuid, platform, visnet.batch.embed as task; return task.__file__, platform.system()\n"
        "print('FOUND', driver.__file__, *ray.get(where.remote()))"
    )
    script = f"python -m visnet.batch --help && exec python -c {shlex.quote(code)}"
    ray = ["-m", "ray.scripts.scripts", "job", "submit", "--address", running.dashboard_url, "--working-dir", "."]
    ran = subprocess.run(
        [sys.executable, *ray, "--", "sh", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "", "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "recommend" in ran.stdout  # the help
    found = next(line for line in ran.stdout.splitlines() if line.startswith("FOUND"))
    driver, task, system = found.split()[1:]
    assert all("/working_dir_files/" in file and not file.startswith(str(ROOT)) for file in (driver, task))
    assert system == "Linux"


def test_train_then_embed(folder: Path, submitted: Callable[..., Any]) -> None:
    store = Store(str(folder / "store"))
    small = ("--steps", "4", "--batch-size", "16", "--workers", "2")
    code, report, log = submitted("train", "--catalog", "tiny", "--fit", *small, "--store", store.location)
    assert code == 0, log
    assert (report["status"], report["exit_code"], report["result"]["steps"]) == ("SUCCEEDED", 0, 4)
    assert finished(store, "encoders") == [report["result"]["encoder"]]
    manifest = json.loads(store.read(f"encoders/{report['result']['encoder']}/manifest.json"))
    assert manifest["commit"] == commit()  # the job has no .git to ask

    # a relative store: the cluster is on this machine, so it is the one of this folder
    code, report, log = submitted(
        "embed", "--catalog", "tiny", "--fit", "--actors", "1", "--store", "store", cwd=folder
    )
    assert code == 0, log
    assert report["result"]["embedded"] == 24


def test_a_job_that_fails_fails_the_command(folder: Path, submitted: Callable[..., Any]) -> None:
    code, report, log = submitted("embed", "--catalog", "no-such-shop", "--store", str(folder / "store"))
    assert (code, report["status"], report["result"]) == (1, "FAILED", None)
    assert "no-such-shop" in log
    assert "Traceback" not in log


def test_no_wait_returns_at_once(folder: Path, submitted: Callable[..., Any]) -> None:
    options = ("--no-wait", "--submission-id", "mine", "--entrypoint-num-cpus", "1")
    code, report, _ = submitted("embed", *options, "--catalog", "none", "--store", str(folder / "store"))
    assert (code, report["job"]) == (0, "mine")
    assert report["status"] in ("PENDING", "RUNNING", "FAILED")


def test_a_wrong_token_is_told_so(running: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from visnet.platform.submit import submit; submit()"
    command = ["-c", code, "train", "--store", "/nowhere", "--address", running.dashboard_url]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    refused = run(command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "refuses our token" in refused.stderr
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    refused = run(command)
    assert refused.returncode == 1
    assert "wants a token" in refused.stderr
    assert "Traceback" not in refused.stderr
