"""Releases: gates before promotion, force on record, and rollbacks that find the way back however often."""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visnet.platform import release as release_module
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.encoder import EncoderManifest
from visnet.platform.errors import GateError, NotFoundError, StoreError
from visnet.platform.index import IndexManifest
from visnet.platform.manifest import Manifest, write_manifest
from visnet.platform.recommendations import SCHEMA, RecommendationsManifest, write_part
from visnet.platform.release import (
    ReleaseManifest,
    create_release,
    current_release,
    history,
    list_releases,
    promote,
    read_release,
    rollback,
)
from visnet.platform.store import Store

DIGEST = "d" * 64
DIRECTORIES = {"encoder": "encoders/e", "index": "indexes/x", "recommendations": "recommendations/r"}


def pieces(store: Store, **changes: dict[str, Any]) -> None:
    """A matching encoder, embeddings, index and recommendations; `changes` by piece."""
    catalog = {"catalog": "shop", "catalog_version": "v1"}
    made: dict[str, Manifest] = {
        "encoder": EncoderManifest(encoder="e", digest=DIGEST, recipe={}, dimension=8),
        "embeddings": EmbeddingsManifest(
            encoder="e", encoder_digest=DIGEST, dimension=8, parts=["part-00000.parquet"], images=12, embedded=6,
            reused=3, quarantined=3, settings={}, **catalog,
        ),
        "index": IndexManifest(
            index="x", encoder="e", encoder_digest=DIGEST, dimension=8, metric="inner_product", rows=9, products=7,
            shard_rows=[4, 5], settings={}, **catalog,
        ),
        "recommendations": RecommendationsManifest(
            recommendations="r", index="x", encoder_digest=DIGEST, products=7, k=20, parts=[1, 2]
        ),
    }  # fmt: skip
    directories = {**DIRECTORIES, "embeddings": embeddings_directory("e", "shop", "v1")}
    for name, manifest in made.items():
        write_manifest(store, directories[name], dataclasses.replace(manifest, **changes.get(name, {})))
    write_files(store, directories["embeddings"])


def write_files(store: Store, embeddings: str) -> None:
    """What the manifests are about."""
    for name, rows in (("part-00000.parquet", 9), ("quarantine.parquet", 3)):
        pq.write_table(pa.table({"image_id": ["i"] * rows}), store.path(f"{embeddings}/{name}"))
    for shard, rows in enumerate((4, 5)):
        with store.writer(f"indexes/x/shard-{shard:04d}/vectors.npy") as file:
            np.save(file, np.zeros((rows, 8), np.float16))
        table = pa.table({"image_id": ["i"] * rows})
        with (
            store.writer(f"indexes/x/shard-{shard:04d}/rows.arrow") as file,
            pa.ipc.new_file(file, table.schema) as ipc,
        ):
            ipc.write_table(table)
    for shard, part, products in ((0, 0, 3), (1, 0, 3), (1, 1, 1)):
        columns = [["p"] * products, [["q"]] * products, [[0.5]] * products]
        write_part(store, "r", shard, part, pa.record_batch(columns, schema=SCHEMA))


def write_arrow(store: Store, name: str, rows: int) -> None:
    table = pa.table({"image_id": ["i"] * rows})
    with store.writer(name) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def release(store: Store, recall: float | None = None, *, queries: str = "q", **recalls: float) -> str:
    """Another release for every evaluation."""
    recall_at_k = {"10": recall, **recalls} if recall is not None else recalls
    evaluation = {"queries_digest": queries, "recall_at_k": recall_at_k} if recall_at_k else {}
    return create_release(store, index="x", recommendations="r", evaluation=evaluation).release


@pytest.fixture
def ready(store: Store) -> Store:
    pieces(store)
    return store


def test_a_release_ties_the_pieces(ready: Store) -> None:
    evaluation = {"queries_digest": "q", "recall_at_k": {"10": 0.9}}
    made = create_release(ready, index="x", recommendations="r", evaluation=evaluation)
    assert read_release(ready, made.release) == made
    assert (made.encoder, made.encoder_digest, made.index, made.recommendations) == ("e", DIGEST, "x", "r")
    assert (made.catalog, made.catalog_version, made.evaluation) == ("shop", "v1", evaluation)
    assert [(gate.name, gate.passed) for gate in made.gates] == [
        ("one encoder", True),
        ("one index", True),
        ("counts", True),
        ("files", True),
        ("ann_recall_at_k", True),
    ]
    assert create_release(ready, index="x", recommendations="r", evaluation=evaluation) == made
    other = create_release(ready, index="x", recommendations="r", evaluation={})
    assert [known.release for known in list_releases(ready)] == [made.release, other.release]


@pytest.mark.parametrize(
    ("piece", "change", "gate"),
    [
        ("encoder", {"digest": "e" * 64}, "one encoder"),
        ("embeddings", {"encoder_digest": "e" * 64}, "one encoder"),
        ("index", {"encoder_digest": "e" * 64}, "one encoder"),
        ("recommendations", {"encoder_digest": "e" * 64}, "one encoder"),
        ("recommendations", {"index": "y"}, "one index"),
        ("index", {"rows": 8}, "counts"),
        ("index", {"products": 6}, "counts"),
        ("embeddings", {"images": 11}, "counts"),
        ("embeddings", {"reused": 2, "images": 11}, "counts"),
        ("index", {"kind": "ivf-pq"}, "ann_recall_at_k"),
        ("index", {"kind": "ivf-pq", "ann_recall_at_k": 0.8999, "min_ann_recall": 0.9}, "ann_recall_at_k"),
    ],
)
def test_what_does_not_fit_does_not_pass(store: Store, piece: str, change: dict[str, Any], gate: str) -> None:
    pieces(store, **{piece: change})
    made = create_release(store, index="x", recommendations="r", evaluation={})
    assert [check.name for check in made.gates if not check.passed and check.name != "files"] == [gate]
    with pytest.raises(GateError, match=rf"did not pass \({gate}: .*\)\. Promote it all the same with --force"):
        promote(store, made.release)
    assert history(store) == []
    promote(store, made.release, force=True)
    assert [(change.release, change.action) for change in history(store)] == [(made.release, "promote --force")]
    assert current_release(store).release == made.release


def test_force_is_recorded_only_where_it_was_needed(ready: Store) -> None:
    first, worse = release(ready, 0.9), release(ready, 0.5)
    promote(ready, first, force=True)
    promote(ready, worse, force=True)
    assert [change.action for change in history(ready)] == ["promote", "promote --force"]


@pytest.mark.parametrize("missing", ["encoder", "index", "recommendations"])
def test_a_missing_piece_makes_no_release(ready: Store, missing: str) -> None:
    ready.delete_directory(DIRECTORIES[missing])
    with pytest.raises((NotFoundError, StoreError)):
        create_release(ready, index="x", recommendations="r", evaluation={})
    assert list_releases(ready) == []


@pytest.mark.parametrize(
    ("before", "after", "tolerance", "passes"),
    [
        (0.90, 0.95, 0.02, True),
        (0.90, 0.90, 0.0, True),
        (0.92, 0.90, 0.02, True),  # just the tolerance, which floats overstep
        (0.90, 0.8799, 0.02, False),
        (0.90, 0.89, 0.0, False),
    ],
)
def test_not_worse_than_the_current_one(
    ready: Store, before: float, after: float, tolerance: float, passes: bool
) -> None:
    promote(ready, release(ready, before))
    candidate = release(ready, after)
    if passes:
        promote(ready, candidate, tolerance=tolerance)
    else:
        with pytest.raises(GateError, match=rf"not worse: recall@10 {after:.3f} against {before:.3f}"):
            promote(ready, candidate, tolerance=tolerance)
    assert (current_release(ready).release == candidate) == passes


def test_every_shared_recall_counts(ready: Store) -> None:
    promote(ready, release(ready, **{"1": 0.6, "10": 0.9, "50": 0.99}))
    with pytest.raises(GateError, match=r"recall@1 0\.500 against 0\.600"):
        promote(ready, release(ready, **{"1": 0.5, "10": 0.95, "20": 0.97}))
    promote(ready, release(ready, **{"1": 0.6, "10": 0.95, "20": 0.97}))
    with pytest.raises(GateError, match="shares no recall"):
        promote(ready, release(ready, **{"5": 0.9}))


def test_the_same_encoder_needs_no_comparison(ready: Store) -> None:
    promote(ready, release(ready))
    promote(ready, release(ready, 0.9))
    promote(ready, release(ready, 0.1, queries="harder"))
    promote(ready, release(ready))


def another_encoder(store: Store, evaluation: dict[str, Any]) -> str:
    other = {"encoder_digest": "f" * 64}
    pieces(store, encoder={"digest": "f" * 64, "encoder": "f"}, embeddings=other, index=other, recommendations=other)
    return create_release(store, index="x", recommendations="r", evaluation=evaluation).release


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        ({}, r"no evaluation of both on the same queries: run visnet eval --against e, then"),
        ({"queries_digest": "harder", "recall_at_k": {"10": 0.95}}, "no evaluation of both on the same queries"),
        ({"queries_digest": "harder", "recall_at_k": {"10": 0.5}, "beside": {"e": {"10": 0.6}}}, "0.500 against 0.600"),
        ({"queries_digest": "q", "recall_at_k": {"10": 0.7}}, "0.700 against 0.900"),
        ({"queries_digest": "harder", "recall_at_k": {"10": 0.59}, "beside": {"e": {"10": 0.6}}}, None),
        ({"queries_digest": "q", "recall_at_k": {"10": 0.95}}, None),
    ],
)
def test_another_encoder_has_to_be_compared(ready: Store, evaluation: dict[str, Any], reason: str | None) -> None:
    promote(ready, release(ready, 0.9))
    candidate = another_encoder(ready, evaluation)
    if reason is None:
        promote(ready, candidate)
    else:
        with pytest.raises(GateError, match=rf"not worse: .*{reason}"):
            promote(ready, candidate)


FILES = {
    "vectors: 8 instead of 9": "embeddings/e/shop-v1/part-00000.parquet",
    "quarantine: 8 instead of 3": "embeddings/e/shop-v1/quarantine.parquet",
    "rows of shard 1: 8 instead of 5": "indexes/x/shard-0001/rows.arrow",
    "vectors of shard 0: 8 instead of 4": "indexes/x/shard-0000/vectors.npy",
    "recommendations: 13 instead of 7": "recommendations/r/shard-0000/part-00000.arrow",
}


def overwrite(store: Store, name: str) -> None:
    """The file with eight rows."""
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"image_id": ["i"] * 8}), store.path(name))
    elif name.endswith(".npy"):
        np.save(store.path(name), np.zeros((8, 8), np.float16))
    elif "recommendations" in name:
        write_part(store, "r", 0, 0, pa.record_batch([["p"] * 9, [["q"]] * 9, [[0.5]] * 9], schema=SCHEMA))
    else:
        write_arrow(store, name, 8)


@pytest.mark.parametrize(("wrong", "name"), FILES.items())
@pytest.mark.parametrize("damage", ["other", "cut", "gone"])
def test_files_are_counted(ready: Store, wrong: str, name: str, damage: str) -> None:
    if damage == "other":
        overwrite(ready, name)
    elif damage == "cut":
        ready.write(name, ready.read(name)[:50])
    else:
        Path(ready.path(name)).unlink()
    made = create_release(ready, index="x", recommendations="r", evaluation={})
    failed = [gate for gate in made.gates if not gate.passed]
    assert [gate.name for gate in failed] == ["files"]
    assert (wrong if damage == "other" else f"can't read {name.rpartition('/')[0]}") in failed[0].detail
    write_files(ready, "embeddings/e/shop-v1")
    again = create_release(ready, index="x", recommendations="r", evaluation={})
    assert (again.release, all(gate.passed for gate in again.gates)) == (made.release, True)


def test_promotions_at_the_same_moment_lose_nothing(ready: Store) -> None:
    names = [release(ready, 0.9 + number / 1000) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: promote(ready, name), names))
    assert sorted(change.release for change in history(ready)) == sorted(names)


def test_rollbacks_go_back_one_promotion_each(ready: Store) -> None:
    a, b, c, d = (release(ready, recall) for recall in (0.90, 0.91, 0.92, 0.93))
    for name in (a, b, c):
        promote(ready, name)
    assert [rollback(ready), rollback(ready)] == [b, a]
    with pytest.raises(NotFoundError, match="no earlier release to roll back to"):
        rollback(ready)
    promote(ready, d)
    assert rollback(ready) == a
    promote(ready, c)
    promote(ready, c)  # twice is once
    promote(ready, b, tolerance=1)
    assert [rollback(ready), rollback(ready)] == [c, a]
    actions = [change.action for change in history(ready)]
    assert actions == ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"] + ["promote"] * 3 + ["rollback"] * 2
    assert current_release(ready).release == a


def test_a_release_may_come_back_and_be_rolled_back_again(ready: Store) -> None:
    a, b = release(ready, 0.9), release(ready, 0.91)
    for name in (a, b, a):
        promote(ready, name)
    assert [rollback(ready), rollback(ready)] == [b, a]


def test_a_forced_release_is_rolled_back_like_any_other(ready: Store) -> None:
    good, bad = release(ready, 0.9), release(ready, 0.1)
    promote(ready, good)
    promote(ready, bad, force=True)
    assert rollback(ready) == good


def test_without_a_promotion_there_is_no_current_release(ready: Store) -> None:
    with pytest.raises(NotFoundError, match="has no current release: visnet release create, then promote it"):
        current_release(ready)
    with pytest.raises(NotFoundError, match="no earlier release"):
        rollback(ready)
    name = release(ready)
    with pytest.raises(NotFoundError, match=rf"no release r-0 in .*there is: {name}"):
        promote(ready, "r-0")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_promoting_leaves_the_old_release_current(
    ready: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first, second = release(ready, 0.9), release(ready, 0.91)
    promote(ready, first)

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, crash)
        with pytest.raises(OSError, match="power cut"):
            promote(ready, second)
    assert current_release(ready).release == first
    assert len(history(ready)) == 1
    promote(ready, second)
    assert rollback(ready) == first


def test_the_alias_is_replaced_in_one_piece(ready: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a reader looks, the file is whole: the old one right up to the replacement."""
    names = [release(ready, recall) for recall in (0.90, 0.91)]
    promote(ready, names[0])
    seen, replace = [], os.replace

    def look_and_replace(source: str, target: str) -> None:
        seen.append(json.loads(ready.read(release_module.CURRENT))["release"])
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_and_replace)
    promote(ready, names[1])
    assert seen == [names[0]]
    assert json.loads(ready.read(release_module.CURRENT))["release"] == names[1]


def test_a_release_that_was_made_is_not_made_differently_later(ready: Store) -> None:
    made: ReleaseManifest = read_release(ready, release(ready, 0.9))
    pieces(ready, index={"rows": 8})
    assert read_release(ready, release(ready, 0.9)) == made
