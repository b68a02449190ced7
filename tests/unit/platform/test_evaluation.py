"""The evaluation artifact: manifests of before can be read, and a release takes the newest of its encoder."""

import dataclasses
import json
from typing import Any

import pytest

from visnet.platform import evaluation
from visnet.platform.evaluation import EvaluationManifest, newest_evaluation
from visnet.platform.manifest import read_manifest
from visnet.platform.store import Store


def write(store: Store, name: str, **changed: Any) -> None:
    """A manifest with only what the first version had."""
    texts = ("evaluation", "encoder", "encoder_digest", "catalog", "queries_kind", "queries_digest", "commit")
    manifest: dict[str, Any] = dict.fromkeys(texts, name)
    manifest |= {"schema_version": 1, "created_at": "2026-01-01", "where": None, "settings": {}, "baselines": {}}
    manifest |= dict.fromkeys(("gallery", "queries", "skipped"), 1)
    manifest |= {"figures": {"recall_at_k": {"1": 0.5}, "category_precision_at_20": 0.25}}
    store.write(f"evaluations/{name}/manifest.json", json.dumps(manifest | changed).encode())


def test_a_manifest_of_before_can_still_be_read(store: Store) -> None:
    write(store, "net-1")
    read = read_manifest(store, "evaluations/net-1", EvaluationManifest)
    assert read.figures.recall_at_k == {"1": 0.5}
    assert (read.kind, read.counts, read.differences) == ("synthetic", None, {})


def test_a_release_keeps_the_newest_of_its_encoder(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass
    class Index:
        encoder: str = "net"

    monkeypatch.setattr(evaluation, "read_index", lambda store, index: Index())
    assert newest_evaluation(store, "x") == {}
    write(store, "net-1", created_at="2026-01-02")
    write(store, "net-2", created_at="2026-01-01")
    write(store, "network-3", created_at="2026-01-03")
    assert newest_evaluation(store, "x") == {
        "evaluation": "net-1",
        "queries_digest": "net-1",
        "queries_kind": "net-1",
        "recall_at_k": {"1": 0.5},
        "beside": {},
        "category_precision_at_20": 0.25,
    }
