"""The processes of a cluster on one machine: all of them are found and ended, and never anybody else's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from visnet.platform import process_session
from visnet.platform.fleet.local_nodes import CLUSTER, HEAD, NODE, LocalNodes

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

SLEEP = ["sleep", "60"]
# A node that starts a daemon in a session of its own, as Ray does, and goes on.
DAEMON = [
    sys.executable, "-Ic",
    "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)",
]  # fmt: skip
TAGS = {"ray-user-node-type": "gpu", "ray-node-status": "waiting"}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[LocalNodes]:
    made = LocalNodes(tmp_path / "one")
    yield made
    made.end_all()


@pytest.fixture
def others(tmp_path: Path) -> Iterator[LocalNodes]:
    """Of another cluster, whose folder's name begins alike."""
    made = LocalNodes(tmp_path / "one-more")
    yield made
    made.end_all()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def until(count: int, nodes: LocalNodes) -> list[int]:
    deadline = time.monotonic() + 20
    while len(found := nodes.every_process()) != count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(found) == count
    return found


def start(nodes: LocalNodes, command: list[str] = SLEEP, **env: str) -> str:
    return nodes.start(command, TAGS, {"PATH": os.environ["PATH"], **env}).id


def head(nodes: LocalNodes) -> subprocess.Popen[bytes]:
    """As `ray up` has it: noted, and its processes started with its environment."""
    nodes.add_head({"ray-node-type": "head"})
    return subprocess.Popen(SLEEP, env={**os.environ, **nodes.environment(HEAD)})


def test_a_folder_without_nodes(nodes: LocalNodes) -> None:
    assert nodes.all() == []
    assert nodes.every_process() == []
    assert nodes.get("gpu-1") is None
    assert nodes.log("gpu-1") == ""
    assert nodes.end("gpu-1") == []
    assert nodes.end_all() == []


def test_a_node_is_its_process_and_a_file_that_others_read(nodes: LocalNodes) -> None:
    name = start(nodes)
    again = LocalNodes(nodes.directory)  # as another process sees it
    (node,) = again.all()
    assert node == again.get(name)
    assert (node.id, node.tags) == (name, TAGS)
    assert name.startswith("gpu-")
    assert again.processes(node) == [node.pid]
    assert again.every_process() == [node.pid]
    assert node.pid is not None
    assert os.getsid(node.pid) == node.pid  # Ctrl-C is for the command that started it


def test_two_nodes_of_a_type_are_told_apart(nodes: LocalNodes) -> None:
    first, second = start(nodes), start(nodes)
    assert {node.id for node in nodes.all()} == {first, second}
    nodes.end(first)
    assert [node.id for node in nodes.all()] == [second]


def test_its_environment_is_what_was_given_and_the_marks(nodes: LocalNodes) -> None:
    name = start(nodes, ["env"], ONLY="this")
    until(0, nodes)
    said = dict(line.split("=", 1) for line in nodes.log(name).splitlines())
    assert said == {
        "PATH": os.environ["PATH"],
        "ONLY": "this",
        "RAY_CLOUD_INSTANCE_ID": name,
        CLUSTER: str(nodes.directory),
        NODE: str(nodes.directory / "nodes" / f"{name}.json"),
    }


def test_its_log_has_both_streams_and_outlives_it(nodes: LocalNodes) -> None:
    name = start(nodes, ["sh", "-c", "echo out; echo err >&2; sleep 60"])
    deadline = time.monotonic() + 20
    while "err" not in nodes.log(name) and time.monotonic() < deadline:
        time.sleep(0.02)
    nodes.end(name)
    assert nodes.log(name) == "out\nerr\n"


def test_a_node_that_died_is_forgotten(nodes: LocalNodes) -> None:
    name = start(nodes, ["true"])
    until(0, nodes)
    assert nodes.get(name) is not None
    assert nodes.all() == []
    assert nodes.get(name) is None


def test_a_node_lives_as_long_as_any_process_of_it(nodes: LocalNodes) -> None:
    name = start(nodes, DAEMON)
    until(2, nodes)
    (node,) = nodes.all()
    assert node.pid is not None
    os.kill(node.pid, 9)
    (left,) = until(1, nodes)
    assert [one.id for one in nodes.all()] == [name]
    assert nodes.processes(node) == [left]


def test_ending_a_node_ends_its_daemons_too_and_no_other_node(nodes: LocalNodes) -> None:
    name, other = start(nodes, DAEMON), start(nodes)
    until(3, nodes)
    assert nodes.end(name) == []
    assert [node.id for node in nodes.all()] == [other]
    assert len(nodes.every_process()) == 1


def test_a_killed_node_dies_with_its_daemons_and_is_then_forgotten(nodes: LocalNodes) -> None:
    name, other = start(nodes, DAEMON), start(nodes)
    until(3, nodes)
    assert len(nodes.kill(name)) == 2
    until(1, nodes)
    assert [node.id for node in nodes.all()] == [other]
    assert nodes.kill(name) == []


def test_the_head_is_there_until_it_is_ended(nodes: LocalNodes) -> None:
    with head(nodes) as process:
        (node,) = nodes.all()
        assert (node.id, node.pid, node.tags) == (HEAD, None, {"ray-node-type": "head"})
        until(1, nodes)
        assert nodes.processes(node) == [process.pid]
        process.kill()
        process.wait()
        assert nodes.all() == [node]
    nodes.end(HEAD)
    assert nodes.all() == []


def test_ending_the_head_leaves_the_workers_and_all_ends_all(nodes: LocalNodes) -> None:
    with head(nodes):
        start(nodes)
        until(2, nodes)
        assert nodes.end(HEAD) == []
        assert len(nodes.every_process()) == 1
    with head(nodes):
        start(nodes, DAEMON)
        until(4, nodes)
        assert nodes.end_all() == []
    assert nodes.every_process() == []
    assert nodes.all() == []


def test_all_ends_what_has_lost_its_file(nodes: LocalNodes) -> None:
    name = start(nodes)
    (nodes.directory / "nodes" / f"{name}.json").unlink()
    assert nodes.end_all() == []
    assert nodes.every_process() == []


def test_two_clusters_and_strangers_are_left_alone(
    nodes: LocalNodes, others: LocalNodes, stranger: subprocess.Popen[bytes]
) -> None:
    mine, theirs = start(nodes), start(others)
    assert [node.id for node in nodes.all()] == [mine]
    assert nodes.end(theirs) == []
    assert nodes.end_all() == []
    assert [node.id for node in others.all()] == [theirs]
    assert len(others.every_process()) == 1
    assert stranger.poll() is None
    assert stranger.pid not in others.every_process()


def test_a_process_that_only_names_a_cluster_is_none_of_its(nodes: LocalNodes) -> None:
    with subprocess.Popen([*SLEEP], env={**os.environ, "OTHER": f"{CLUSTER}={nodes.directory}"}) as alike:
        start(nodes)
        nodes.end_all()
        assert alike.poll() is None
        assert alike.pid in process_session.family(-1, f"OTHER={CLUSTER}={nodes.directory}")
        alike.kill()


def test_tags_are_changed_and_the_others_stay(nodes: LocalNodes) -> None:
    name = start(nodes)
    nodes.retag(name, {"ray-node-status": "up-to-date", "more": "1"})
    assert [node.tags for node in nodes.all()] == [{**TAGS, "ray-node-status": "up-to-date", "more": "1"}]
    nodes.end(name)
    nodes.retag(name, {"more": "2"})
    assert nodes.get(name) is None


def test_a_file_that_is_half_there_is_passed_over(nodes: LocalNodes) -> None:
    name = start(nodes)
    (nodes.directory / "nodes" / "gpu-0.json").write_text("{")
    assert [node.id for node in nodes.all()] == [name]
