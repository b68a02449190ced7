"""Which nodes a command may use, by the name that its settings give."""

from __future__ import annotations

from pathlib import Path

import pytest

from visnet.platform import errors
from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, NodeType, read_definition
from visnet.platform.pools import ALL, Pool, pool_of

FILE = Path(errors.__file__).resolve().parent.parent / "cluster.yaml"


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


def test_a_pool_is_the_nodes_with_its_label() -> None:
    pool = Pool(name="work")
    assert pool.selector == {"pool": "work"}
    assert str(pool) == "pool work"


def test_no_pool_is_all_nodes() -> None:
    assert ALL.selector == {}
    assert str(ALL) == "the cluster"


def test_a_pool_knows_the_types_that_may_be_added_to_it(definition: ClusterDefinition) -> None:
    assert [kind.name for kind in pool_of(definition, "work", setting="pool").types] == ["gpu", "cpu"]
    assert [kind.name for kind in pool_of(definition, "serve", setting="serve.pool").types] == ["serve"]
    every = pool_of(definition, None, setting="pool")
    assert (every.name, every.types) == (None, definition.workers)


def test_an_unknown_pool_is_refused_with_those_there_are(definition: ClusterDefinition) -> None:
    with pytest.raises(SettingsError, match=r"metadata\.visnet\.serve\.pool: .*pool: jobs \(there are: serve, work\)"):
        pool_of(definition, "jobs", setting="serve.pool")


def test_types_without_a_label_are_in_no_pool() -> None:
    head, plain = NodeType(name="head"), NodeType(name="cpu", max_workers=1)
    definition = ClusterDefinition(cluster_name="c", max_workers=1, head=head, workers=(plain,), content={})
    with pytest.raises(SettingsError, match="there are: none"):
        pool_of(definition, "work", setting="pool")
    assert pool_of(definition, None, setting="pool").types == (plain,)


def test_without_types_a_name_is_taken_at_its_word() -> None:
    alone = ClusterDefinition(cluster_name="c", max_workers=0, head=NodeType(name="head"), workers=(), content={})
    assert pool_of(alone, "work", setting="pool") == Pool(name="work")
    assert pool_of(None, "work", setting="pool") == Pool(name="work")
