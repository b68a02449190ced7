"""What a session's work may use, without a cluster; `tests/integration/test_cluster.py` has the rest."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from visnet.platform import cluster, ray_nodes
from visnet.platform.cluster import Connection
from visnet.platform.errors import ClusterError
from visnet.platform.placement import Node
from visnet.platform.pools import ALL, Pool

WORK = Pool(name="work")


@pytest.fixture(autouse=True)
def data_options() -> Iterator[None]:
    """Ray Data's options of this process, put back afterwards."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.execution_options.label_selector, context.use_datasource_v2
    yield
    context.execution_options.label_selector, context.use_datasource_v2 = before


def connection(pool: Pool) -> Connection:
    return Connection(address="127.0.0.1:6379", dashboard_url=None, pool=pool)


def test_outside_of_a_session_nothing_is_current_and_work_goes_anywhere() -> None:
    assert cluster.current() is None
    assert cluster.selector() == {}


def test_in_a_session_work_goes_to_its_pool_and_afterwards_no_longer() -> None:
    from ray.data import DataContext

    made = connection(WORK)
    with cluster._current(made) as found:
        assert found is cluster.current() is made
        assert cluster.selector() == {"pool": "work"}
        options = DataContext.get_current().execution_options
        assert options.label_selector == {"pool": "work"}
        assert not DataContext.get_current().use_datasource_v2
        with cluster._current(connection(ALL)):
            assert cluster.selector() == {}
            assert DataContext.get_current().execution_options.label_selector is None
        assert cluster.current() is made
    assert cluster.current() is None


def test_a_session_that_fails_is_over() -> None:
    with pytest.raises(KeyError), cluster._current(connection(WORK)):
        raise KeyError
    assert cluster.current() is None


def nodes(monkeypatch: pytest.MonkeyPatch, capacity: list[Node], known: set[str]) -> None:
    monkeypatch.setattr(ray_nodes, "capacity", lambda _pool: capacity)
    monkeypatch.setattr(ray_nodes, "known_pools", lambda: known)


def test_a_pool_with_nodes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [Node(cpus=1, gpus=0, memory_bytes=0)], {"work", "serve"})
    assert cluster._usable(WORK) is WORK


def test_all_nodes_are_used_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_nodes, "capacity", lambda _pool: pytest.fail("asked"))
    assert cluster._usable(ALL) is ALL


def test_a_cluster_that_keeps_none_apart_is_one_pool(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes(monkeypatch, [], set())
    with caplog.at_level(logging.INFO):
        assert cluster._usable(WORK) is ALL
    assert "the cluster has no pools, so pool work is all of it" in caplog.text


def test_a_pool_that_a_cluster_with_others_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, [], {"serve", "jobs"})
    with pytest.raises(ClusterError, match="no node of the cluster is of pool work, only of jobs, serve"):
        cluster._usable(WORK)
