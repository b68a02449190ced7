"""What a release has to pass before it may be promoted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch

from tests.release_pieces import detector, light_detectors, pieces, release, write_arrow, write_files
from visnet.platform.errors import GateError
from visnet.platform.manifest import write_manifest
from visnet.platform.recommendations import SCHEMA, write_part
from visnet.platform.release import (
    Localisation,
    ReleaseManifest,
    create_release,
    current_release,
    history,
    promote,
    read_release,
)
from visnet.platform.store import Store


@pytest.fixture
def ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    light_detectors(monkeypatch)
    pieces(store)
    return store


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


def test_a_shop_that_never_evaluated_goes_on_with_its_encoder(ready: Store) -> None:
    promote(ready, release(ready))
    write_manifest(ready, "releases/r-next", replace(read_release(ready, release(ready)), release="r-next"))
    promote(ready, "r-next")
    assert current_release(ready).release == "r-next"


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


def with_detector(store: Store, name: str) -> ReleaseManifest:
    localisation = Localisation(detector=name, measured={}, by_default=True)
    return create_release(store, index="x", recommendations="r", evaluation={}, localisation=localisation)


def failed(made: ReleaseManifest) -> list[tuple[str, str]]:
    return [(gate.name, gate.detail) for gate in made.gates if not gate.passed]


def test_a_detector_that_fits_passes(ready: Store) -> None:
    for classes, text in ((["product"], "one class"), (["bags", "coats"], "2 categories")):
        own = detector(ready, classes=classes)
        made = with_detector(ready, own.detector)
        assert failed(made) == []
        assert made.gates[-1].detail == f"{own.detector}, {text}"
        promote(ready, made.release)


def test_another_catalogue_s_detector_does_not_pass(ready: Store) -> None:
    other = detector(ready, catalog="furniture")
    made = with_detector(ready, other.detector)
    ((name, detail),) = failed(made)
    assert name == "detector"
    assert detail == f"{other.detector} was trained for catalogue furniture, the index is of shop"
    with pytest.raises(GateError, match=r"did not pass \(detector: .*furniture"):
        promote(ready, made.release)


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_detector_that_was_changed_does_not_pass_until_it_is_restored(ready: Store, damage: str) -> None:
    own = detector(ready)
    file = f"detectors/{own.detector}/weights.safetensors"
    whole = ready.read(file)
    if damage == "changed":
        weights = safetensors.torch.load(whole)
        next(value for value in weights.values() if value.is_floating_point()).view(-1)[0] += 1e-6
        ready.write(file, safetensors.torch.save(weights))
    elif damage == "cut":
        ready.write(file, whole[:-10])
    else:
        Path(ready.path(file)).unlink()
    made = with_detector(ready, own.detector)
    assert [name for name, _ in failed(made)] == ["detector"]
    assert own.detector in failed(made)[0][1]
    with pytest.raises(GateError, match="detector"):
        promote(ready, made.release)
    ready.write(file, whole)
    again = with_detector(ready, own.detector)
    assert (again.release, failed(again)) == (made.release, [])
