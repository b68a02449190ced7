"""The script that Ray starts in place of HAProxy, run with a stand-in binary."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from visnet.platform import haproxy
from visnet.platform.ports import PortBlock

CONFIG = """frontend prometheus
    bind :20005
frontend http_frontend
    bind *:8000
backend a
    server one 127.0.0.1:20004 check
listen stats
  bind *:20004
  stats enable
"""


@pytest.fixture
def block() -> Iterator[PortBlock]:
    with socket.socket() as guard:
        yield PortBlock(base=20000, guard=guard)


def test_binds_statistics_and_metrics_to_loopback_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: PortBlock
) -> None:
    binary = tmp_path / "real"
    binary.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    binary.chmod(0o700)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(binary))
    config = tmp_path / "haproxy.cfg"
    config.write_text(CONFIG)
    environment = haproxy.serve_environment(tmp_path, block)
    script = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    ran = subprocess.run([script, "-db", "-f", str(config), "-sf", "7 8"], check=True, capture_output=True, text=True)
    assert ran.stdout == f"-db|-f|{config}|-sf|7 8|"
    changed = CONFIG.replace("bind :20005", "bind 127.0.0.1:20005").replace("bind *:20004", "bind 127.0.0.1:20004")
    assert config.read_text() == changed
    assert environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"


def test_does_without_haproxy_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: PortBlock, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(haproxy, "find_haproxy", lambda: None)
    assert haproxy.serve_environment(tmp_path, block)["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert "no HAProxy" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_request_is_sent_again_if_its_ingress_died_and_it_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: PortBlock
) -> None:
    monkeypatch.setattr(haproxy, "find_haproxy", lambda: "/bin/true")
    environment = haproxy.serve_environment(tmp_path, block)
    retried = environment["RAY_SERVE_HAPROXY_RETRY_ON"].split()
    assert retried == ["conn-failure", "empty-response"]  # never one that was answered, even if in part
    assert environment["RAY_SERVE_HAPROXY_TUNE_BUFSIZE"] == "65536"


def test_ray_knows_the_settings_of_retries() -> None:
    """Ray ignores a variable that it does not know."""
    from ray.serve._private import constants

    for name in ("RETRY_ON", "TUNE_BUFSIZE"):
        assert hasattr(constants, f"RAY_SERVE_HAPROXY_{name}")
