"""The desk without a cluster: whose claim counts and for how long, and what a job does with its room."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from visnet.platform import admission_desk, cluster
from visnet.platform.admission import Answer, Claim
from visnet.platform.admission_desk import FORGOTTEN_S, Desk, Grant, admitted
from visnet.platform.cluster import Connection
from visnet.platform.errors import ClusterError
from visnet.platform.placement import Node
from visnet.platform.pools import ALL, Pool

WORK, SERVE = Pool(name="work"), Pool(name="serve")


def claim(name: str, kind: str = "train", *, pool: str = "work", **changes: object) -> Claim:
    made = Claim(id=name, kind=kind, pool=pool, least=1, most=1, cpus=1.0, gpus=1.0)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@dataclasses.dataclass
class Stand:
    """What the desk sees: so many nodes with a GPU, at such a time."""

    nodes: int = 2
    now: float = 1_000.0


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    made = Stand()
    node = Node(cpus=4, gpus=1, memory_bytes=0)
    monkeypatch.setattr(admission_desk, "capacity", lambda pool: [node] * made.nodes if pool.name else [])
    return made


@pytest.fixture
def clock(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr(admission_desk, "time", SimpleNamespace(monotonic=lambda: stand.now))
    return stand


def test_an_admitted_claim_counts_at_once(clock: Stand) -> None:
    desk = Desk()
    assert desk.ask(claim("a", most=2), WORK) == Answer(copies=2)
    assert desk.ask(claim("b"), WORK).copies == 0  # although a has not yet said that it holds anything
    assert [(one.id, one.holds) for one in desk.claims()] == [("a", 2), ("b", 0)]


def test_a_claim_that_is_repeated_keeps_its_place(clock: Stand) -> None:
    desk = Desk()
    desk.ask(claim("holds", holds=2), WORK)
    for name in ("first", "second", "first"):
        assert desk.ask(claim(name), WORK).copies == 0
    desk.release("holds")
    clock.nodes = 1
    assert desk.ask(claim("second"), WORK).copies == 0
    assert desk.ask(claim("first"), WORK).copies == 1


def test_a_claim_that_is_not_repeated_is_forgotten(clock: Stand) -> None:
    desk = Desk()
    desk.ask(claim("a", most=2), WORK)
    clock.now += FORGOTTEN_S - 1
    assert desk.ask(claim("b"), WORK).copies == 0
    clock.now += 1
    assert desk.ask(claim("b"), WORK).copies == 1
    assert [one.id for one in desk.claims()] == ["b"]


def test_a_claim_that_is_repeated_is_kept(clock: Stand) -> None:
    desk = Desk()
    for _ in range(4):
        desk.ask(claim("a", holds=2), WORK)
        clock.now += FORGOTTEN_S - 1
    assert desk.ask(claim("b"), WORK).copies == 0


def test_what_is_released_is_free_at_once(clock: Stand) -> None:
    desk = Desk()
    desk.ask(claim("a", most=2), WORK)
    desk.release("a")
    desk.release("a")
    assert desk.ask(claim("b"), WORK).copies == 1


def test_pools_do_not_share_their_room(clock: Stand) -> None:
    desk = Desk()
    desk.ask(claim("a", holds=2), WORK)
    assert desk.ask(claim("s", "serve", pool="serve"), SERVE).copies == 1


class Remote:
    """The desk as a job has it: its calls go through `remote`."""

    def __init__(self) -> None:
        self.desk, self.asked = Desk(), 0
        self.release = SimpleNamespace(remote=self.desk.release)

    def held(self) -> dict[str, int]:
        return {one.id: one.holds for one in self.desk.claims()}


@pytest.fixture
def remote(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    made, lock = Remote(), threading.Lock()

    def ask(_desk: object, one: Claim, pool: Pool) -> Answer:
        with lock:
            made.asked += 1
            return made.desk.ask(one, pool)

    connection = Connection(address="h:1", dashboard_url=None, pool=WORK)
    monkeypatch.setattr(cluster, "current", lambda: connection)
    monkeypatch.setattr(admission_desk, "_desk", lambda: made)
    monkeypatch.setattr(admission_desk, "_ask", ask)
    monkeypatch.setattr(admission_desk, "_job_name", lambda: "mine")
    monkeypatch.setattr(admission_desk, "REPEAT_S", 0.01)
    yield made
    deadline = time.monotonic() + 10
    while any(one.name == "visnet-admission" for one in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)


def until(what: object, grant: Grant) -> None:
    deadline = time.monotonic() + 10
    while grant.wanted != what and time.monotonic() < deadline:
        time.sleep(0.01)
    assert grant.wanted == what


@pytest.mark.parametrize("connection", [None, Connection(address="h:1", dashboard_url=None, local=True, pool=WORK)])
def test_a_command_on_its_own_has_all_that_it_asks_for(
    monkeypatch: pytest.MonkeyPatch, connection: Connection | None
) -> None:
    monkeypatch.setattr(cluster, "current", lambda: connection)
    monkeypatch.setattr(admission_desk, "_desk", lambda: pytest.fail("it asked"))
    with admitted(kind="train", least=2, most=5, cpus=1, gpus=1) as grant:
        assert (grant.copies, grant.wanted, grant.resize()) == (5, 5, 5)
        assert grant.beside().cpu == float("inf")


def test_a_job_holds_its_room_until_it_ends(remote: Remote) -> None:
    with admitted(kind="train", least=1, most=9, cpus=1, gpus=1) as grant:
        assert grant.copies == 2
        assert remote.held() == {"mine": 2}
    assert "mine" not in remote.held()


def test_a_job_that_fails_frees_its_room(remote: Remote) -> None:
    with pytest.raises(KeyError), admitted(kind="train", least=1, most=9, cpus=1, gpus=1):
        raise KeyError
    assert "mine" not in remote.held()


def test_a_job_waits_and_says_once_for_what(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    remote.desk.ask(claim("other", holds=2), WORK)
    done = threading.Timer(0.3, remote.desk.release, ["other"])
    done.start()
    with caplog.at_level(logging.INFO), admitted(kind="train", least=1, most=2, cpus=1, gpus=1) as grant:
        assert grant.copies == 2
    waits, room = (one.getMessage() for one in caplog.records)
    assert waits.startswith(
        "train mine waits: it waits for 1 x 1 GPU and 1 CPU; of 2 GPUs and 8 CPUs, train other has 2"
    )
    assert room == "train mine: there is room now, for 2"


def test_what_never_fits_is_refused_at_once(remote: Remote) -> None:
    with (
        pytest.raises(
            ClusterError, match=r"detector: 3 x 1 GPU and 1 CPU never fit.* in pool work; .*visnet\.detector"
        ),
        admitted(kind="detector", least=3, most=9, cpus=1, gpus=1),
    ):
        pass
    assert remote.asked == 1


def test_the_least_is_no_more_than_the_most(remote: Remote) -> None:
    with admitted(kind="train", least=8, most=2, cpus=1, gpus=1) as grant:
        assert grant.copies == 2


def test_a_pass_hears_that_it_should_shrink_and_that_it_may_grow(remote: Remote) -> None:
    with admitted(kind="embed", least=1, most=9, cpus=1, gpus=1, shrinks=True) as grant:
        assert grant.copies == 2
        remote.desk.ask(claim("other"), WORK)
        until(1, grant)
        assert grant.copies == 2  # until it has done so
        assert grant.resize() == 1
        assert remote.held()["mine"] == 1
        assert remote.desk.ask(claim("other"), WORK).copies == 1
        remote.desk.release("other")
        until(2, grant)
        assert grant.resize() == 2


def test_room_that_another_took_meanwhile_is_not_taken(remote: Remote) -> None:
    grant = Grant(claim("mine", "embed", shrinks=True, most=2, holds=1), WORK, remote)
    grant.wanted = 2  # as it was told a moment ago
    assert remote.desk.ask(claim("mine", "embed", shrinks=True, most=2, holds=1), WORK).copies == 2
    assert remote.desk.ask(claim("other"), WORK).copies == 1
    assert grant.resize() == 1


def test_a_desk_that_does_not_answer_stops_no_work(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> Answer:
        raise TimeoutError

    with admitted(kind="embed", least=1, most=2, cpus=1, gpus=1, shrinks=True) as grant:
        monkeypatch.setattr(admission_desk, "_ask", silent)
        assert grant.resize() == 2
        remote.release.remote = silent  # nor when the cluster is gone


def test_the_limit_of_what_runs_beside_is_by_copy(remote: Remote) -> None:
    grant = Grant(claim("mine", beside_cpus=4.0, holds=2), WORK, remote, beside_cpus=1.5)
    assert grant.beside().cpu == 3.0
    assert Grant(claim("mine", beside_cpus=1.5, holds=2), ALL, None).beside().cpu == float("inf")


def test_a_jobs_name_is_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(given))
    assert admission_desk._job_name() == "raysubmit_1"


@pytest.mark.parametrize("given", [None, "", "{", "{}", "[]", '{"metadata": {}}', '{"metadata": null}'])
def test_a_driver_that_was_not_submitted_has_its_hosts_and_processs(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", given)
    assert admission_desk._job_name() == f"{socket.gethostname()}-{os.getpid()}"
