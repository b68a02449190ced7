"""What `visnet submit` decides before it talks to a cluster, and how it follows a job."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from visnet.platform import submit
from visnet.platform.errors import ClusterError, SettingsError

ROOT = Path(submit.__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (None, {}, "http://127.0.0.1:8265"),
        ("http://head:8265/", {"RAY_API_SERVER_ADDRESS": "http://other:1"}, "http://head:8265"),
        ("head:8265", {}, "http://head:8265"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://a:1", "RAY_ADDRESS": "http://b:2"}, "http://a:1"),
        (None, {"RAY_ADDRESS": "https://b:2"}, "https://b:2"),
        (None, {"RAY_ADDRESS": "auto"}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "127.0.0.1:6379"}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "[::ffff:127.0.0.1]:6379"}, "http://127.0.0.1:8265"),
    ],
)
def test_address(given: str | None, environment: dict[str, str], expected: str) -> None:
    assert submit.jobs_address(given, environment) == expected


@pytest.mark.parametrize("head", ["10.0.0.5:6379", "ray://10.0.0.5:10001"])
def test_a_drivers_address_elsewhere_is_no_jobs_address(head: str) -> None:
    with pytest.raises(ClusterError, match="--address http://HOST:8265"):
        submit.jobs_address(None, {"RAY_ADDRESS": head})


@pytest.mark.parametrize("location", ["s3://bucket/visnet", "/mnt/shared/visnet", "~/visnet"])
def test_a_store_that_a_job_finds_goes_as_it_is(location: str) -> None:
    assert submit.store_for_job(location, lambda: False) == location


def test_a_relative_store_goes_to_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert submit.store_for_job(".visnet", lambda: True) == str(tmp_path / ".visnet")
    with pytest.raises(SettingsError, match=r"'\.visnet'.*--store"):
        submit.store_for_job(".visnet", lambda: False)


def test_a_tunnel_to_a_cluster_is_not_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit.socket, "gethostname", lambda: "laptop")
    assert submit.one_machine("http://127.0.0.1:8265", ["laptop", "laptop"])
    assert not submit.one_machine("http://127.0.0.1:8265", ["ip-10-0-0-5"])
    assert not submit.one_machine("http://127.0.0.1:8265", ["laptop", "ip-10-0-0-5"])
    assert not submit.one_machine("http://10.0.0.5:8265", ["laptop"])


def test_the_cluster_file_is_the_jobs_copy() -> None:
    assert submit.cluster_file_option(None, unasked) == []
    assert submit.cluster_file_option(ROOT / "cluster.yaml", unasked) == []
    assert submit.cluster_file_option(ROOT / "docs" / "big.yaml", unasked) == ["--cluster-file", "docs/big.yaml"]


def test_a_cluster_file_elsewhere_is_found_by_jobs_of_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = ["--cluster-file", str(tmp_path / "own.yaml")]
    assert submit.cluster_file_option(Path("own.yaml"), lambda: True) == expected
    with pytest.raises(SettingsError, match="all that a job gets"):
        submit.cluster_file_option(Path("own.yaml"), lambda: False)


def unasked() -> bool:
    pytest.fail("the cluster was asked where it runs")


def test_entrypoint_is_quoted() -> None:
    words = [*submit.ENTRYPOINTS["index"], "build", "--catalog", "my shop; rm"]
    assert submit.entrypoint(words) == "python -m visnet.batch index build --catalog 'my shop; rm'"


def test_nothing_there_is_told_what_to_do() -> None:
    with pytest.raises(ClusterError, match=r"no Ray jobs API answers at http://127\.0\.0\.1:1 .*ray dashboard"):
        submit.hosts("http://127.0.0.1:1")


def test_the_report_is_the_last_json_of_the_log() -> None:
    assert submit.last_json('{"a": 1}\ntext\n{"a": 2}\nbye {no}\n{broken\n') == {"a": 2}
    assert submit.last_json("nothing") is None


class Client:
    """A jobs API with one job, whose log breaks off once."""

    def __init__(self, status: str, *, code: int | None = 0, message: str = "", interrupt: bool = False) -> None:
        self.end = SimpleNamespace(status=Status(status), driver_exit_code=code, message=message)
        self.interrupt = interrupt
        self.tails = 0

    def get_job_info(self, _job: str) -> Any:
        if self.tails < 2:
            return SimpleNamespace(status=Status("RUNNING"), driver_exit_code=None, message="")
        return self.end

    async def tail_job_logs(self, _job: str) -> AsyncIterator[str]:
        self.tails += 1
        yield "one\n"
        if self.interrupt:
            raise KeyboardInterrupt
        yield "two\n"
        if self.tails == 1:
            raise RuntimeError("WebSocket connection closed unexpectedly")
        yield "three\n"


class Status(str):
    """As Ray's: a string that knows its value and whether it is the end."""

    @property
    def value(self) -> str:
        return str(self)

    def is_terminal(self) -> bool:
        return self != "RUNNING"


def job(client: Client) -> submit.Job:
    return submit.Job(client=client, url="http://127.0.0.1:8265", id="it")


def test_the_log_goes_on_where_it_broke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit.time, "sleep", lambda _s: None)
    assert job(Client("SUCCEEDED")).follow(to_stderr=False) == ("SUCCEEDED", 0, "one\ntwo\nthree\n")
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("status", "code", "expected"), [("FAILED", 2, 2), ("FAILED", None, 1), ("FAILED", -9, 1), ("STOPPED", 0, 1)]
)
def test_a_job_that_did_not_succeed(
    status: str, code: int | None, expected: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit.time, "sleep", lambda _s: None)
    ended = job(Client(status, code=code, message="why")).follow(to_stderr=True)
    assert ended[:2] == (status, expected)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("why" in captured.err) == (code is None)


def test_interrupted_the_job_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        job(Client("SUCCEEDED", interrupt=True)).follow(to_stderr=False)
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert "job it goes on" in said
    assert "ray job stop --address http://127.0.0.1:8265 it" in said


def test_what_is_uploaded_is_the_code_and_small(tmp_path: Path) -> None:
    """With Ray's own packer, on a copy with the folders that a used checkout has."""
    from ray._private.runtime_env.packaging import create_package

    copy = tmp_path / "checkout"
    for file in (".gitignore", ".rayignore", "visnet.py", "cluster.yaml", "platform/settings.py", "train/__main__.py"):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((ROOT / file).read_bytes())
    for folder in (".git", ".venv", ".visnet", "build", "tests", "docs", ".mypy_cache", "train/__pycache__"):
        (copy / folder / "inner").mkdir(parents=True)
        (copy / folder / "inner" / "large").write_bytes(bytes(2**20))
    (copy / "build" / "loop").symlink_to("..")  # the checks make one like it
    create_package(str(copy), tmp_path / "upload.zip", include_gitignore=True)
    names = {name for name in zipfile.ZipFile(tmp_path / "upload.zip").namelist() if not name.endswith("/")}
    expected = {"visnet.py", "cluster.yaml", "platform/settings.py", "train/__main__.py", ".gitignore", ".rayignore"}
    assert names == expected
