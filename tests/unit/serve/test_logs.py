"""The lines of the log, in a file beside Serve's."""

import contextvars
import json
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from visnet.serve import exchange
from visnet.serve.logs import BLOCK, SERVE, Lines, log_lines

REPLICA = {"deployment": "shard", "replica": "abc"}


@pytest.fixture
def serve_log(tmp_path: Path) -> Iterator[Path]:
    """Serve's logger as a replica has it: a buffer before a file."""
    path = tmp_path / "replica_shard_abc.log"
    serve, ours = logging.getLogger(SERVE), logging.getLogger("visnet")
    before = (serve.handlers, ours.handlers, ours.level, ours.propagate)
    file = logging.FileHandler(path)
    serve.handlers = [logging.handlers.MemoryHandler(1, target=file)]
    yield path
    for handler in ours.handlers:
        handler.close()
    file.close()
    serve.handlers, ours.handlers, ours.propagate = before[0], before[1], before[3]
    ours.setLevel(before[2])


@pytest.fixture(autouse=True)
def _no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins outside of any request, and none leaves one behind."""
    monkeypatch.setattr(exchange, "_CURRENT", contextvars.ContextVar("exchange", default=None))


def lines(serve_log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in serve_log.with_suffix(".jsonl").read_text().splitlines()]


def test_an_event_is_a_line_of_json(serve_log: Path) -> None:
    kept = log_lines(REPLICA)
    logging.getLogger("visnet.serve.shards").info("applied %d entries\nof the journal", 7)
    kept.flush()
    (line,) = lines(serve_log)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "visnet.serve.shards",
        "message": "applied 7 entries\nof the journal",
        **REPLICA,
    }


def test_a_line_names_the_request_it_was_said_in_though_it_is_written_later(serve_log: Path) -> None:
    kept = log_lines(REPLICA)
    exchange.begin(exchange.Exchange(request_id="order-66"))
    logging.getLogger("visnet.serve.ingress").info("searching")
    exchange.begin(exchange.Exchange(request_id="order-67"))
    kept.flush()
    assert [line["request_id"] for line in lines(serve_log)] == ["order-66"]


def test_lines_are_written_in_blocks_and_warnings_at_once(serve_log: Path) -> None:
    log_lines(REPLICA)
    logger = logging.getLogger("visnet.serve.ingress")
    logger.info("first")
    assert not serve_log.with_suffix(".jsonl").read_text()
    for _ in range(BLOCK - 1):
        logger.info("more")
    assert len(lines(serve_log)) == BLOCK
    logger.warning("at once")
    assert lines(serve_log)[-1]["message"] == "at once"


def test_warnings_are_in_serve_s_log_too(serve_log: Path) -> None:
    log_lines(REPLICA)
    logging.getLogger("visnet.serve.shards").info("no matter")
    logging.getLogger("visnet.serve.shards").warning("the journal is away")
    assert serve_log.read_text() == "the journal is away\n"


def test_an_exception_is_one_line(serve_log: Path) -> None:
    log_lines(REPLICA)
    try:
        raise KeyError("a fault")
    except KeyError:
        logging.getLogger("visnet.serve.problems").exception("it failed")
    assert "KeyError: 'a fault'" in lines(serve_log)[-1]["exception"]


def test_without_serve_s_file_lines_go_to_stderr(serve_log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger(SERVE).handlers = []
    kept = log_lines(REPLICA)
    assert isinstance(kept, Lines)
    logging.getLogger("visnet.serve.shards").warning("here")
    assert json.loads(capfd.readouterr().err)["message"] == "here"
