"""Manifests: an artifact exists with its manifest, and only as the kind and version it was written as."""

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from visnet.platform import manifest
from visnet.platform.errors import StoreError
from visnet.platform.manifest import Manifest, digest_of, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlantManifest(Manifest):
    name: str
    leaves: int
    beds: list[str]


@pytest.fixture
def fresh_commit() -> Iterator[None]:
    manifest.commit.cache_clear()
    yield
    manifest.commit.cache_clear()


def test_round_trip(store: Store) -> None:
    written = PlantManifest(name="fern", leaves=7, beds=["a", "b"])
    write_manifest(store, "plants/fern", written)
    assert read_manifest(store, "plants/fern", PlantManifest) == written
    assert written.schema_version == 1
    assert datetime.now(UTC) - datetime.fromisoformat(written.created_at) < timedelta(minutes=1)


def test_an_artifact_without_its_manifest_does_not_exist(store: Store) -> None:
    store.write("plants/half/part-00000", b"x")
    assert not has_manifest(store, "plants/half")
    with pytest.raises(StoreError, match=r"has no finished plants/half \(no manifest.json in it\)"):
        read_manifest(store, "plants/half", PlantManifest)


def test_finished_lists_only_complete_artifacts(store: Store) -> None:
    assert finished(store, "plants") == []
    for name in ("b", "a"):
        write_manifest(store, f"plants/{name}", PlantManifest(name=name, leaves=1, beds=[]))
    store.write("plants/half/part-00000", b"x")
    store.write("plants/stray-file", b"x")
    assert finished(store, "plants") == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema_version": 2}, "has schema version 2; this visnet reads 1"),
        ({"name": "fern"}, "has schema version None"),
        ([1], "has schema version None"),
        ({"schema_version": 1, "name": "fern", "beds": []}, r"is not a PlantManifest(.|\n)*leaves"),
        ({"schema_version": 1, "name": "fern", "beds": [], "leaves": "many"}, r"is not a PlantManifest(.|\n)*leaves"),
    ],
)
def test_another_kind_or_version_is_refused(store: Store, content: object, message: str) -> None:
    store.write("plants/odd/manifest.json", json.dumps(content).encode())
    with pytest.raises(StoreError, match=message):
        read_manifest(store, "plants/odd", PlantManifest)


def test_a_manifest_that_is_not_json_is_refused(store: Store) -> None:
    store.write("plants/odd/manifest.json", b'{"schema_version": 1')
    with pytest.raises(StoreError, match=r"plants/odd/manifest.json is not JSON"):
        read_manifest(store, "plants/odd", PlantManifest)


def test_digest_stands_for_the_values_and_not_for_their_order_in_a_mapping() -> None:
    assert digest_of("a", {"x": 1, "y": 2}) == digest_of("a", {"y": 2, "x": 1})
    assert len({digest_of("a", 1), digest_of("a", 2), digest_of(1, "a"), digest_of("a1")}) == 4
    assert digest_of("a") == "0eb5b8d6f81b"  # the same on every machine, in every version


@pytest.mark.usefixtures("fresh_commit")
def test_the_commit_is_the_named_one_before_the_checkouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISNET_COMMIT", "0123abc")
    assert PlantManifest(name="fern", leaves=1, beds=[]).commit == "0123abc"


@pytest.mark.usefixtures("fresh_commit")
@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")])
def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.delenv("VISNET_COMMIT", raising=False)
    monkeypatch.setattr(subprocess, "run", fail)
    assert manifest.commit() == "unknown"
