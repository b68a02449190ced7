"""Ray's own launcher on the rendered file: `ray up`, a job, `ray down`; and the other Ray of the machine stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.elastic import ROOT, Elastic, cut_file, wait_for
from visnet.platform.local_cluster import LocalCluster
from visnet.platform.ray_probe import dashboard_answers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

NAME = "launcher-test"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("RAY_ADDRESS", raising=False)
        folder = tmp_path_factory.mktemp("file")
        made = Elastic(cut_file(folder / "cut.yaml", str(folder / "store"), NAME), NAME)
        made.run("cluster", "up", "--local", "--idle-timeout-s", "5")
        try:
            yield made
        finally:
            made.run("cluster", "down")


def ray(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *arguments],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_UP_enable_autoscaler_v2": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_plain_job_makes_a_node_come_and_go(up: Elastic, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "import ray; ray.init()\n"
        "task = ray.remote(num_gpus=1, label_selector={'pool': 'work'})(lambda: 'a node was there')\n"
        "print(ray.get(task.remote()))\n"
    )
    job = ["--working-dir", str(tmp_path), "--", "python", "job.py"]
    assert "a node was there" in ray("job", "submit", "--address", up.up.dashboard_url, *job)
    assert len(up.nodes("gpu")) == 1
    assert up.nodes("serve") == []
    wait_for(lambda: up.nodes("gpu") == [], "the idle node stayed")


def test_up_again_is_no_second_cluster(up: Elastic) -> None:
    before = up.up.nodes.every_process()
    assert up.run("cluster", "up", "--local")["dashboard"] == up.up.dashboard_url
    assert set(up.up.nodes.every_process()) & set(before)


def test_rays_down_ends_it_all_and_nothing_else_and_rays_up_starts_it_again(up: Elastic) -> None:
    with LocalCluster(num_cpus=1) as bystander:
        ray("down", "--yes", str(up.up.file))
        assert up.up.nodes.every_process() == []
        assert not dashboard_answers(up.up.dashboard_url, timeout_s=2.0)
        assert dashboard_answers(bystander.dashboard_url, timeout_s=5.0)
        ray("up", "--yes", "--no-config-cache", str(up.up.file))
        wait_for(lambda: dashboard_answers(up.up.dashboard_url, timeout_s=2.0), "it did not come up again")
        up.run("cluster", "down")
        assert dashboard_answers(bystander.dashboard_url, timeout_s=5.0)
