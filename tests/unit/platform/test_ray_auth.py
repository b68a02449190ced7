"""Token files, modes and what wins over what. No Ray is started."""

import logging
import os
import stat
from pathlib import Path

import pytest

from visnet.platform import ray_auth
from visnet.platform.errors import ClusterError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    # Set first, so that what the code itself sets is undone too.
    for name in (ray_auth.MODE, ray_auth.TOKEN, ray_auth.TOKEN_PATH):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray_auth, "_reread_mode", lambda: None)
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_makes_a_private_token_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        path = ray_auth.ensure_token()
    finally:
        os.umask(before)
    assert path == home / ".ray" / "auth_token"
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o700
    assert len(path.read_text()) == 64
    assert os.environ[ray_auth.MODE] == "token"
    assert list(path.parent.iterdir()) == [path]


def test_keeps_the_token_that_is_there(home: Path) -> None:
    first = ray_auth.ensure_token()
    assert first is not None
    value = first.read_text()
    assert ray_auth.ensure_token() == first
    assert first.read_text() == value == ray_auth.token()


def test_replaces_an_empty_token(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("\n")
    ray_auth.ensure_token()
    assert len(path.read_text()) == 64


def test_tightens_a_token_that_others_can_read(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("secret")
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        ray_auth.ensure_token()
    assert mode_of(path) == 0o600
    assert path.read_text() == "secret"
    assert "644" in caplog.text
    assert "secret" not in caplog.text


def test_the_variable_wins_over_the_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ray_auth.TOKEN, "from-the-variable")
    monkeypatch.setenv(ray_auth.TOKEN_PATH, str(home / "missing"))
    assert ray_auth.ensure_token() is None
    assert ray_auth.token() == "from-the-variable"
    assert not (home / ".ray").exists()


def test_the_named_file_wins_over_the_default_and_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = home / "mounted"
    named.write_text("mounted-token\n")
    named.chmod(0o644)
    monkeypatch.setenv(ray_auth.TOKEN_PATH, str(named))
    assert ray_auth.ensure_token() == named
    assert ray_auth.auth_headers() == {"Authorization": "Bearer mounted-token"}
    assert mode_of(named) == 0o644
    assert not (home / ".ray").exists()


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_named_file_without_a_token_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    named = home / "mounted"
    if content is not None:
        named.write_text(content)
    monkeypatch.setenv(ray_auth.TOKEN_PATH, str(named))
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN_PATH"):
        ray_auth.ensure_token()
    assert ray_auth.MODE not in os.environ


def test_an_unwritable_home_is_an_error_that_says_what_to_do(home: Path) -> None:
    (home / ".ray").write_text("a file where the folder should be")
    with pytest.raises(ClusterError, match="RAY_AUTH_TOKEN"):
        ray_auth.ensure_token()


def test_disabled_is_respected_with_a_warning(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ray_auth.MODE, "Disabled")
    with caplog.at_level(logging.WARNING):
        assert ray_auth.ensure_token() is None
    assert os.environ[ray_auth.MODE] == "Disabled"
    assert "can run any code" in caplog.text
    assert ray_auth.token() is None
    assert ray_auth.auth_headers() == {}
    assert not (home / ".ray").exists()


def test_without_a_token_nothing_is_sent_and_nothing_made(home: Path) -> None:
    assert ray_auth.token() is None
    assert ray_auth.auth_headers() == {}
    assert not (home / ".ray").exists()


def test_a_token_made_by_another_process_meanwhile_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".ray" / "auth_token"
    link = os.link

    def slower(source: str, target: Path) -> None:
        path.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", slower)
    ray_auth.ensure_token()
    assert path.read_text() == "theirs"
