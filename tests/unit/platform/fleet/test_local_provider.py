"""What Ray's launcher and autoscaler ask of nodes that are processes; no Ray, a shell stands in for a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.errors import ClusterError
from visnet.platform.fleet.local_nodes import CLUSTER, HEAD, NODE
from visnet.platform.fleet.local_provider import LocalProvider, LocalRunner

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

UP = "env; echo the node is up; exec sleep 60"
GPU = {"ray-user-node-type": "gpu", "ray-launch-request": "l1"}
READY = {"ray-node-type": "worker", "ray-node-status": "up-to-date"}


def behaves(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What a node does in place of being one of Ray's."""
    monkeypatch.setattr(LocalProvider, "_command", lambda _self, _resources, _labels: ["sh", "-c", script])


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalProvider]:
    behaves(monkeypatch, UP)
    made = LocalProvider(config(tmp_path), "shop")
    yield made
    made._nodes.end_all()


def config(directory: Path, **changes: Any) -> dict[str, Any]:
    made = {"type": "external", "state_dir": str(directory), "ray_dir": "/tmp/r", "gcs_port": 6380}
    return {**made, "gpus": 0, "environment": {"RAY_AUTH_MODE": "token"}, **changes}


def create(provider: LocalProvider, count: int = 1, *, gpus: int = 0, tags: dict[str, str] = GPU) -> list[str]:
    before = set(provider.non_terminated_nodes({}))
    provider.create_node_with_resources_and_labels({}, tags, count, {"CPU": 8, "GPU": gpus}, {"pool": "work"})
    return sorted(set(provider.non_terminated_nodes({})) - before)


def environment(provider: LocalProvider, node: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in provider._nodes.log(node).splitlines() if "=" in line)


def test_as_many_nodes_are_made_as_are_asked_for(provider: LocalProvider) -> None:
    made = create(provider, 2)
    assert len(made) == 2
    assert all(provider.is_running(node) and not provider.is_terminated(node) for node in made)
    assert all(provider.node_tags(node) == {**GPU, **READY} for node in made)
    assert (
        {provider.internal_ip(node) for node in made} == {provider.external_ip(node) for node in made} == {"127.0.0.1"}
    )


def test_nodes_are_found_by_their_tags(provider: LocalProvider) -> None:
    (gpu,), (cpu,) = create(provider), create(provider, tags={"ray-user-node-type": "cpu"})
    provider.create_node({}, {"ray-node-type": "head"}, 1)
    assert provider.non_terminated_nodes({"ray-user-node-type": "gpu"}) == [gpu]
    assert provider.non_terminated_nodes({"ray-user-node-type": "gpu", "ray-node-type": "head"}) == []
    assert provider.non_terminated_nodes({"ray-node-type": "head"}) == [HEAD]
    assert set(provider.non_terminated_nodes({})) == {gpu, cpu, HEAD}


def test_tags_are_changed(provider: LocalProvider) -> None:
    (node,) = create(provider)
    provider.set_node_tags(node, {"ray-node-status": "setting-up"})
    assert provider.node_tags(node) == {**GPU, **READY, "ray-node-status": "setting-up"}


def test_a_terminated_node_is_gone_and_the_other_is_not(provider: LocalProvider) -> None:
    ended, other = create(provider, 2)
    provider.terminate_node(ended)
    assert provider.non_terminated_nodes({}) == [other]
    assert provider.is_terminated(ended)
    assert provider.node_tags(ended) == {}
    provider.terminate_node(ended)  # Ray may ask twice


def test_a_node_that_does_not_end_is_told(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider._nodes, "end", lambda _node: [4711])
    with pytest.raises(ClusterError, match=r"node gpu-1 did not end: \[4711\]"):
        provider.terminate_node("gpu-1")


def test_a_node_that_dies_while_it_starts_is_told_with_its_last_words(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaves(monkeypatch, "seq 3000; echo no shared memory >&2; exit 1")
    with pytest.raises(ClusterError, match=r"node gpu-\w+ ended while it started") as caught:
        create(provider)
    assert str(caught.value).endswith("3000\nno shared memory\n")
    assert len(str(caught.value)) < 2_100
    assert provider.non_terminated_nodes({}) == []


def test_a_slow_node_is_left_to_start(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    behaves(monkeypatch, "exec sleep 60")
    monkeypatch.setattr("visnet.platform.fleet.local_provider.START_S", 0.1)
    assert len(create(provider)) == 1


def test_workers_are_started_with_resources_only(provider: LocalProvider) -> None:
    with pytest.raises(ClusterError, match="a worker is started with its resources"):
        provider.create_node({}, {"ray-node-type": "worker"}, 1)
    assert provider.non_terminated_nodes({}) == []


def test_a_nodes_environment(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 0}')  # as on the head, where the autoscaler runs
    monkeypatch.setenv("RAY_OVERRIDE_LABELS", "{}")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("KEPT", "yes")
    (node,) = create(provider)
    found = environment(provider, node)
    assert not {"RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS"} & set(found)
    assert (found["RAY_AUTH_MODE"], found["KEPT"]) == ("token", "yes")
    assert (found["RAY_NODE_TYPE_NAME"], found["RAY_CLOUD_INSTANCE_ID"]) == ("gpu", node)


def test_real_gpus_are_given_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behaves(monkeypatch, UP)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    provider = LocalProvider(config(tmp_path, gpus=2), "shop")
    try:
        provider.create_node({}, {"ray-node-type": "head"}, 1)  # which has none
        names = [create(provider, gpus=1)[0] for _ in range(3)]
        given = [environment(provider, name).get("CUDA_VISIBLE_DEVICES") for name in names]
        assert given == ["0", "1", "0"]
        assert environment(provider, create(provider, gpus=2)[0])["CUDA_VISIBLE_DEVICES"] == "0,1"
        assert "CUDA_VISIBLE_DEVICES" not in environment(provider, create(provider)[0])
    finally:
        provider._nodes.end_all()


def test_pretended_gpus_are_nothing_that_cuda_sees(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "CUDA_VISIBLE_DEVICES" not in environment(provider, create(provider, gpus=1)[0])


def test_a_node_is_this_python_with_what_ray_wants_of_it(tmp_path: Path) -> None:
    provider = LocalProvider(config(tmp_path), "shop")
    python, *words, given = provider._command({"CPU": 8, "GPU": 1}, {"pool": "work"})
    assert (python, words) == (sys.executable, ["-m", "visnet.platform.fleet.local_node"])
    found = json.loads(given)
    assert found.pop("temp_dir").startswith("/tmp/r/")
    expected = {"resources": {"CPU": 8, "GPU": 1}, "labels": {"pool": "work"}, "gcs_address": "127.0.0.1:6380"}
    assert found == expected
    assert provider._command({}, {})[-1] != provider._command({}, {})[-1]  # a folder for each


@pytest.fixture
def runner(provider: LocalProvider) -> LocalRunner:
    return provider.get_command_runner("", HEAD, {}, "shop", None, use_internal_ip=True)


def test_a_command_runs_here_with_the_nodes_marks(runner: LocalRunner, tmp_path: Path) -> None:
    said = runner.run(f"echo ${CLUSTER} ${NODE} $RAY_AUTH_MODE", with_output=True)
    assert said.split() == [str(tmp_path), str(tmp_path / "nodes" / "head.json"), "token"]
    assert runner.run("echo unseen") == ""


def test_variables_are_text_or_json(runner: LocalRunner) -> None:
    given: dict[str, object] = {"A": "b c", "B": {"CPU": 1}}
    assert runner.run('echo "$A$B"', environment_variables=given, with_output=True) == 'b c{"CPU": 1}\n'


@pytest.mark.parametrize("command", [None, "", "ray stop", " ray stop "])
def test_no_command_and_the_end_of_every_ray_are_left_out(
    runner: LocalRunner, command: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_named: pytest.fail("it was run"))
    assert runner.run(command, with_output=True) == ""


def test_a_command_that_fails_raises_or_ends_the_launcher(runner: LocalRunner) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        runner.run("exit 3")
    with pytest.raises(SystemExit) as ended:
        runner.run("exit 3", exit_on_fail=True)
    assert ended.value.code == 3
    with pytest.raises(subprocess.TimeoutExpired):
        runner.run("exec sleep 60", timeout=0.1)  # type: ignore[arg-type]


def test_files_of_the_home_go_to_the_clusters_folder_and_back(runner: LocalRunner, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_text("one")
    runner.run_rsync_up(str(source / "inner" / "file"), "~/ray_bootstrap_config.yaml")
    assert (tmp_path / "ray_bootstrap_config.yaml").read_text() == "one"
    runner.run_rsync_up(str(source), "~/deep/er")
    runner.run_rsync_up(str(source), "~/deep/er")  # again after a change
    assert (tmp_path / "deep" / "er" / "inner" / "file").read_text() == "one"
    runner.run_rsync_down("~/ray_bootstrap_config.yaml", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "one"
    assert not os.path.exists(os.path.expanduser("~/deep/er"))
