"""The doctor's checks on made-up machines, and that one broken check leaves the others alone."""

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from visnet.platform import doctor
from visnet.platform import doctor_checks as look
from visnet.platform.settings import Settings


def broken() -> look.Found:
    raise RuntimeError("the sky fell")


def test_a_broken_check_is_a_failed_one_and_the_others_go_on() -> None:
    first, second = doctor.examine({"sky": broken, "python": lambda: look.python((3, 12, 1))})
    assert (first.name, first.status) == ("sky", "fail")
    assert "RuntimeError: the sky fell" in first.detail
    assert second.status == "ok"
    text = doctor.table([first, second])
    assert "-> see the text above" in text
    assert text.endswith("1 ok, 0 warn, 1 fail")


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (look.python((3, 10, 9)), "fail"),
        (look.python((3, 11, 0)), "ok"),
        (look.ray_version(None), "fail"),
        (look.ray_version("2.59.1"), "warn"),
        (look.ray_version("2.60.0"), "ok"),
        (look.gpu([], []), "warn"),
        (look.gpu(["L4", "L4"], ["L4", "L4"]), "ok"),
        (look.gpu([], ["L4"]), "fail"),
        (look.weights("visnet-tiny", "0.1.0", []), "ok"),
        (look.weights("visnet-tiny", None, []), "warn"),
        (look.weights("visnet", None, []), "fail"),
        (look.weights("visnet-vgg16", "0.1.0", []), "warn"),
        (look.weights("visnet-vgg16", "0.1.0", ["vgg16-397923af.pth"]), "ok"),
        (look.memory(None), "warn"),
        (look.memory(2**29), "fail"),
        (look.memory(2 * 2**30), "warn"),
        (look.memory(8 * 2**30), "ok"),
        (look.shared_memory(Path("/no/such/folder")), "ok"),
        (look.cluster_definition(None), "warn"),
        (look.cluster(None), "ok"),
        (look.disk("s3://bucket/visnet"), "ok"),
    ],
)
def test_what_is_found_has_the_right_status_and_an_advice_where_needed(found: look.Found, status: str) -> None:
    assert found[0] == status
    assert bool(found[2]) == (status != "ok")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "ANSWER_TIMEOUT_S", 1.0)
    assert look.cluster(address)[0] == "fail"


def test_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert look.token({})[0] == "ok"  # will be made
    path.write_text("")
    assert look.token({})[0] == "warn"
    path.write_text("abc")
    path.chmod(0o644)
    assert look.token({}) == ("fail", f"{path} can be read by others (mode 644)", f"chmod 600 {path}")
    path.chmod(0o600)
    assert look.token({})[0] == "ok"
    assert look.token({"RAY_AUTH_TOKEN": "abc"}) == ("ok", "from RAY_AUTH_TOKEN", "")  # never the token itself
    assert look.token({"RAY_AUTH_MODE": "disabled"})[0] == "warn"


def test_haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "haproxy"
    binary.write_text('#!/bin/sh\necho "HAProxy version 2.8 - https://haproxy.org"\n')
    binary.chmod(0o700)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(binary))
    assert look.haproxy() == ("ok", f"HAProxy version 2.8, {binary}", "")
    binary.write_text("#!/bin/sh\nexit 1\n")
    assert look.haproxy()[0] == "warn"


def test_faiss_gives_the_right_answer_here() -> None:
    assert look.faiss_search()[0] in ("ok", "warn")


def test_faiss_that_gives_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss
    import numpy as np

    monkeypatch.setattr(faiss, "knn", lambda *_args, **_options: (None, np.zeros((5, 5), np.int64)))
    status, detail, _ = look.faiss_search()
    assert status == "fail"
    assert "wrong neighbours" in detail


def test_two_builds_of_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "installed_version", lambda _name: "1.0")
    assert look.faiss_search()[:2] == ("fail", "faiss-gpu 1.0 and faiss-cpu 1.0")


def test_store_is_not_made_by_asking(tmp_path: Path) -> None:
    there = tmp_path / "a" / "store"
    assert look.store(str(there)) == ("ok", f"{there}, not made yet", "")
    assert not (tmp_path / "a").exists()
    there.mkdir(parents=True)
    assert look.store(str(there)) == ("ok", str(there), "")
    (tmp_path / "file").touch()
    assert look.store(str(tmp_path / "file" / "store"))[0] == "fail"
    assert look.store("memory://bucket")[0] == "ok"


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = os.statvfs(tmp_path)
    assert usage.f_bavail > 0
    monkeypatch.setattr(look.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 2 * 2**30}))
    assert look.disk(str(tmp_path / "store"))[:2] == ("warn", "2.0 GiB free at the store")
    assert look.shared_memory(tmp_path)[0] == "ok"


def test_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert look.port(number, "127.0.0.1")[0] == "warn"
    assert look.port(number, "127.0.0.1")[0] == "ok"


def test_the_command_reports_and_fails_if_a_check_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        ran = CliRunner().invoke(doctor.doctor, ["--store", str(tmp_path), *arguments])
        return ran.exit_code, ran.stdout

    monkeypatch.setattr(doctor, "checks", lambda _settings, _file: {"python": lambda: look.python((3, 12))})
    code, text = run("--json")
    assert (code, json.loads(text.splitlines()[-1])["ok"]) == (0, True)
    monkeypatch.setattr(doctor, "checks", lambda _settings, _file: {"sky": broken})
    code, text = run("--json")
    assert (code, json.loads(text.splitlines()[-1])["failed"]) == (1, ["sky"])
    assert run()[1].startswith("fail  sky")


def test_every_check_has_a_name_of_its_own_and_none_runs_before_it_is_asked() -> None:
    assert len(doctor.checks(Settings(store="/nowhere"), None)) == 15
