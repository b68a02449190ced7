"""A cluster of this machine as files and processes: found, refused, ended; Ray's launcher is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from visnet.platform import errors
from visnet.platform.errors import ClusterError, SettingsError
from visnet.platform.fleet import local
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.local_nodes import HEAD

FILE = Path(errors.__file__).resolve().parent.parent / "cluster.yaml"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as it is set at once, put back afterwards
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[local.LocalUp]:
    """The clusters that would have been started."""
    made: list[local.LocalUp] = []
    monkeypatch.setattr(local, "_launch", lambda one, _timeout_s: made.append(one))
    return made


def up(definition: ClusterDefinition, *, source: str = "a.yaml", **changes: Any) -> local.LocalUp:
    given = {"gpus": 0, "object_store_bytes": 100, "idle_timeout_s": 30.0, **changes}
    return local.up(definition, source=source, **given)


def answers(monkeypatch: pytest.MonkeyPatch, whether: bool) -> None:
    monkeypatch.setattr(local, "dashboard_answers", lambda _url, **_options: whether)


def test_where_nothing_was_started_nothing_is_found_and_nothing_ended(home: Path) -> None:
    assert local.find("visnet") is None
    assert local.down("visnet") is False
    assert not (home / ".visnet").exists()


def test_what_was_started_is_found_with_all_that_it_is(
    definition: ClusterDefinition, launched: list[local.LocalUp], home: Path
) -> None:
    made = up(definition)
    assert launched == [made]
    assert local.find("visnet") == made
    assert made.directory == home / ".visnet" / "clusters" / "visnet"
    assert made.directory.stat().st_mode & 0o777 == 0o700
    assert made.ray_directory.is_dir()
    assert len(str(made.ray_directory)) < 30
    assert made.address == f"127.0.0.1:{made.gcs_port}"
    assert made.dashboard_url == f"http://127.0.0.1:{made.dashboard_port}"
    assert local.find("other") is None
    assert local.down("visnet") is True
    assert not made.ray_directory.exists()
    assert local.find("visnet") is None
    assert local.down("visnet") is False


def test_rays_file_is_of_the_definition_and_this_machine(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "available_bytes", lambda: 0)
    made = up(definition, gpus=2)
    written = yaml.safe_load(made.file.read_text())
    assert written["provider"]["state_dir"] == str(made.directory)
    assert written["provider"]["gcs_port"] == made.gcs_port
    assert written["provider"]["gpus"] == 2
    assert written["provider"]["environment"]["RAY_AUTH_MODE"] == "token"
    assert written["idle_timeout_minutes"] == 0.5
    resources = written["available_node_types"]["gpu"]["resources"]
    assert (resources["object_store_memory"], resources["memory"]) == (100, local.MEMORY_BYTES)
    token = (Path.home() / ".ray" / "auth_token").read_text()
    assert token not in made.file.read_text()
    local.down("visnet")


def test_ports_that_are_taken_are_left_to_those_who_have_them(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "is_free", lambda _port: True)
    made = up(definition)
    assert (made.gcs_port, made.dashboard_port) == (6379, 8265)
    local.down("visnet")
    monkeypatch.setattr(local, "is_free", lambda _port: False)
    made = up(definition)
    assert made.gcs_port != 6379
    assert made.dashboard_port != 8265
    assert made.gcs_port != made.dashboard_port
    local.down("visnet")


def test_one_that_is_up_stays(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = up(definition)
    answers(monkeypatch, True)
    assert up(definition) == made
    assert len(launched) == 1
    local.down("visnet")


def test_one_of_another_file_is_not_taken_for_it(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = up(definition)
    answers(monkeypatch, True)
    with pytest.raises(ClusterError, match=r"a cluster 'visnet' runs already, from a\.yaml: .*--name"):
        up(definition, source="b.yaml")
    assert local.find("visnet") == made
    assert made.ray_directory.exists()
    local.down("visnet")


def test_what_is_left_of_one_that_was_not_ended_is_ended_first(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = up(definition, source="b.yaml")
    answers(monkeypatch, False)
    with process_of(left) as process:
        made = up(definition)
        assert process.wait(10) == -15
    assert local.find("visnet") == made == launched[1]
    assert not left.ray_directory.exists()
    local.down("visnet")


def process_of(cluster: local.LocalUp) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], env={**os.environ, **cluster.nodes.environment(HEAD)})


def test_ending_ends_the_processes_and_keeps_the_logs(
    definition: ClusterDefinition, launched: list[local.LocalUp]
) -> None:
    made = up(definition)
    (made.directory / "up.log").write_text("said")
    with process_of(made) as process:
        assert local.down("visnet") is True
        assert process.wait(10) == -15
    assert made.nodes.every_process() == []
    assert (made.directory / "up.log").read_text() == "said"


def test_a_cluster_that_does_not_end_is_told_and_found_again(
    definition: ClusterDefinition, launched: list[local.LocalUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = up(definition)
    with monkeypatch.context() as patch:
        patch.setattr("visnet.platform.fleet.local_nodes.LocalNodes.end_all", lambda _self: [4711])
        with pytest.raises(ClusterError, match=r"cluster visnet did not end: \[4711\]"):
            local.down("visnet")
    assert local.find("visnet") == made
    local.down("visnet")


@pytest.mark.parametrize("error", [ClusterError("no"), KeyboardInterrupt()])
def test_a_start_that_fails_leaves_nothing(
    definition: ClusterDefinition, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    tried: list[tuple[local.LocalUp, subprocess.Popen[bytes]]] = []

    def fail(made: local.LocalUp, _timeout_s: float) -> None:
        tried.append((made, process_of(made)))
        raise error

    monkeypatch.setattr(local, "_launch", fail)
    with pytest.raises(type(error)):
        up(definition)
    ((made, process),) = tried
    assert process.wait(10) == -15
    assert not made.ray_directory.exists()
    assert local.find("visnet") is None
    assert made.file.exists()  # with the log, for whoever looks into it


def test_the_block_of_ports_is_given_back(definition: ClusterDefinition, launched: list[local.LocalUp]) -> None:
    block = local.claim_ports()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "claim_ports", lambda: block)
        up(definition)
    assert block.guard.fileno() == -1
    local.down("visnet")


def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """What runs in place of the Python that would run `ray up`."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(stand_in))


def test_a_launcher_that_fails_is_shown_with_the_end_of_its_log(
    definition: ClusterDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher(monkeypatch, tmp_path, "seq 100; echo no such module >&2; exit 1")
    with pytest.raises(ClusterError) as caught:
        up(definition)
    first, *lines, last = str(caught.value).splitlines()
    assert first.startswith("`ray up /")
    assert first.endswith("/ray.yaml` failed")
    assert (lines[0], lines[-2:]) == ("77", ["100", "no such module"])
    assert last.endswith("/up.log)")


def test_a_launcher_that_takes_too_long_is_told(
    definition: ClusterDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher(monkeypatch, tmp_path, "exec sleep 60")
    with pytest.raises(ClusterError, match=r"did not start within 0\.2 s"):
        up(definition, timeout_s=0.2)


def test_a_head_that_died_is_not_waited_for(
    definition: ClusterDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, False)
    launcher(monkeypatch, tmp_path, 'echo "$RAY_AUTH_MODE $RAY_ADDRESS $KEPT: $*"')
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")  # of another cluster
    monkeypatch.setenv("KEPT", "yes")
    with pytest.raises(
        ClusterError, match=r"dashboard does not answer\ntoken  yes: -m ray\.scripts\.scripts up --yes "
    ):
        up(definition)


@pytest.mark.parametrize("name", ["", ".", "..", "../shop", "a/b", "/srv", "-x", "a b"])
def test_a_name_that_is_a_path_empties_no_folder(name: str) -> None:
    for use in (local.find, local.down, local.directory_of):
        with pytest.raises(SettingsError, match="cluster_name"):
            use(name)


def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch, definition: ClusterDefinition) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local, "_prepare", full)
    with pytest.raises(ClusterError, match="No space left"):
        local.up(definition, source="x", gpus=0, object_store_bytes=1, idle_timeout_s=None)
