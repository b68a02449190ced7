"""The fold's chain: from the journal to a release that is served, without embedding anything again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.folding import RULES, StepsHere, first_release, vectors_of, write_live
from tests.journals import opened
from visnet.batch import fold as fold_module
from visnet.batch.fold import fold, nothing_new, rules_like
from visnet.batch.fold_cli import fold as fold_command
from visnet.platform.catalog import Catalog, open_catalog
from visnet.platform.command import Invocation
from visnet.platform.errors import StoreError
from visnet.platform.fold import fold_work
from visnet.platform.imaging import content_hash
from visnet.platform.index import load_shard, read_index
from visnet.platform.journal import Delete, Journal
from visnet.platform.journal_place import journal_place
from visnet.platform.manifest import read_manifest
from visnet.platform.recommendations import RecommendationsManifest, recommendations_directory
from visnet.platform.release import create_release, current_release, history, promote, rollback
from visnet.platform.settings import RecommendSettings
from visnet.platform.store import Store

MakePictures = Callable[..., list[bytes]]
MakeCatalog = Callable[..., Catalog]
PRODUCTS = 20


@pytest.fixture
def journal(store: Store) -> Iterator[Journal]:
    place = journal_place(store, None)
    assert place is not None
    with opened(place) as journal:
        yield journal


@pytest.fixture
def release(store: Store, encoder: str, make_catalog: MakeCatalog, make_pictures: MakePictures) -> str:
    return first_release(store, make_catalog(make_pictures(range(PRODUCTS))), encoder)


def test_no_picture_is_embedded_twice_and_live_vectors_stay_as_they_are(
    store: Store, encoder: str, journal: Journal, release: str, make_pictures: MakePictures, encoded: list[int]
) -> None:
    known = make_pictures(range(2))
    new = make_pictures(range(100, 105))
    live = write_live(store, journal, encoder, "p00003", known[0], new[0])
    live |= write_live(store, journal, encoder, "live", *new[1:4])
    write_live(store, journal, encoder, "waits", new[4], new[1], embedded=False)
    journal.append([Delete(product_id="p00001")], images={}, vectors={})
    before = vectors_of(store, encoder, open_catalog(store, "shop"))
    encoded.clear()
    folded = fold(store, "shop", journal, StepsHere(store=store))
    assert encoded == [1]  # of the product that was written with another encoder; its second picture is known
    assert (folded.embeddings.embedded, folded.embeddings.reused) == (1, PRODUCTS - 2 + 7 - 1)
    found = vectors_of(store, encoder, folded.catalog)
    for key, vector_D in {**before, **live}.items():
        if key in found:
            assert found[key].tobytes() == vector_D.tobytes()
    assert set(found) >= set(live) | {content_hash(new[4])}
    assert found.keys() & before.keys() == before.keys() - {content_hash(one) for one in make_pictures([1, 3])}


def test_the_release_is_served_from_where_the_fold_began(
    store: Store, encoder: str, journal: Journal, release: str, make_pictures: MakePictures
) -> None:
    write_live(store, journal, encoder, "live", *make_pictures([100]))
    steps = StepsHere(store=store, shards=3)
    build = StepsHere.build_index
    with pytest.MonkeyPatch.context() as patch:

        def meanwhile(self: StepsHere, catalog: Catalog, name: str) -> Any:
            write_live(store, journal, encoder, "later", *make_pictures([101]))
            journal.append([Delete(product_id="live")], images={}, vectors={})
            return build(self, catalog, name)

        patch.setattr(StepsHere, "build_index", meanwhile)
        folded = fold(store, "shop", journal, steps)
    current = current_release(store)
    index = read_index(store, current.index)
    assert folded.promoted
    assert folded.release.release == current.release != release
    assert (index.journal_sequence, index.shards, index.products) == (1, 3, PRODUCTS + 1)
    assert [entry.write.product_id for entry in journal.read(index.journal_sequence)] == ["later", "live"]
    shards = [load_shard(store, index.index, shard) for shard in range(3)]
    assert sum(len(shard.rows_of("live")) for shard in shards) == 1
    made = read_manifest(store, recommendations_directory(current.recommendations), RecommendationsManifest)
    assert (made.k, made.rules["same_category"]) == (RULES.k, True)
    assert not store.exists(fold_work("shop"))


def test_a_fold_with_nothing_new_stands(
    store: Store, encoder: str, journal: Journal, release: str, make_pictures: MakePictures, encoded: list[int]
) -> None:
    assert nothing_new(store, "shop", journal) == current_release(store)
    write_live(store, journal, encoder, "live", *make_pictures([100]))
    assert nothing_new(store, "shop", journal) is None
    made = fold(store, "shop", journal, StepsHere(store=store)).release
    assert nothing_new(store, "shop", journal) == made
    encoded.clear()
    again = fold(store, "shop", journal, StepsHere(store=store))
    assert (again.release, again.promoted, again.fold.entries, encoded) == (made, False, 0, [])
    assert [change.release for change in history(store)] == [release, made.release]


@pytest.mark.parametrize("step", ["embed", "build_index", "recommend", "promote"])
def test_killed_between_its_steps_it_goes_on(
    store: Store,
    encoder: str,
    journal: Journal,
    release: str,
    make_pictures: MakePictures,
    monkeypatch: pytest.MonkeyPatch,
    encoded: list[int],
    step: str,
) -> None:
    live = write_live(store, journal, encoder, "live", *make_pictures([100, 101]))

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fold_module if step == "promote" else StepsHere, step, killed)
        with pytest.raises(KeyboardInterrupt):
            fold(store, "shop", journal, StepsHere(store=store))
    assert current_release(store).release == release
    encoded.clear()
    folded = fold(store, "shop", journal, StepsHere(store=store))
    assert encoded == []
    assert folded.promoted
    assert folded.catalog.manifest.journal_sequence == 1
    assert store.names("catalogs/shop") == sorted(["1", folded.catalog.manifest.version])
    assert store.names(f"embeddings/{encoder}") == sorted(["shop-1", folded.catalog.reference])
    assert len(store.names("indexes")) == len(store.names("recommendations")) == len(store.names("releases")) == 2
    found = vectors_of(store, encoder, folded.catalog)
    assert all(found[key].tobytes() == live[key].tobytes() for key in live)


def test_what_was_folded_may_be_trimmed_before_its_fold_has_ended(
    store: Store,
    encoder: str,
    journal: Journal,
    release: str,
    make_pictures: MakePictures,
    monkeypatch: pytest.MonkeyPatch,
    encoded: list[int],
) -> None:
    write_live(store, journal, encoder, "live", *make_pictures([100]))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fold_module, "write_vectors", killed)
        with pytest.raises(KeyboardInterrupt):
            fold(store, "shop", journal, StepsHere(store=store))
    journal.trim(1)
    encoded.clear()
    folded = fold(store, "shop", journal, StepsHere(store=store))
    assert folded.promoted
    assert encoded == [1]


def test_a_release_that_became_current_meanwhile_stays(
    store: Store, encoder: str, journal: Journal, release: str, make_pictures: MakePictures
) -> None:
    current = current_release(store)
    other = create_release(
        store, index=current.index, recommendations=current.recommendations, evaluation={"queries_digest": "q"}
    ).release
    write_live(store, journal, encoder, "live", *make_pictures([100]))
    recommend = StepsHere.recommend
    with pytest.MonkeyPatch.context() as patch:

        def meanwhile(self: StepsHere, *arguments: Any) -> RecommendationsManifest:
            promote(store, other)
            return recommend(self, *arguments)

        patch.setattr(StepsHere, "recommend", meanwhile)
        with pytest.raises(StoreError, match=f"{other} became current while the journal was folded for {release}"):
            fold(store, "shop", journal, StepsHere(store=store))
    assert current_release(store).release == other
    rollback(store)
    assert fold(store, "shop", journal, StepsHere(store=store)).promoted


def test_the_rules_are_those_of_the_current_release() -> None:
    asked = RecommendSettings(k=7, price_band=0.5, in_stock="stock", diversity=0.2, candidates=50)
    made = RecommendationsManifest(
        recommendations="r", index="x", encoder_digest="d", products=1, k=3,
        rules={"same_category": True, "in_stock": None, "price_band": None, "price_column": None, "diversity": 0.0,
               "candidates": None},
    )  # fmt: skip
    wanted = replace(asked, k=3, same_category=True, price_band=None, in_stock=None, diversity=0.0, candidates=None)
    assert rules_like(asked, made) == wanted


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The addresses of the clusters that were asked for; none starts."""
    asked: list[str | None] = []

    @contextmanager
    def connect(_invocation: Invocation, address: str | None) -> Iterator[None]:
        asked.append(address)
        yield

    monkeypatch.setattr(Invocation, "cluster", connect)
    monkeypatch.setattr(fold_module, "OnRay", lambda store, settings: StepsHere(store=store))
    return asked


def command(store: Store, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    (tmp_path / "cluster.yaml").write_text("metadata: {visnet: {}}")
    options = ["--store", store.location, "--cluster-file", str(tmp_path / "cluster.yaml"), "--json"]
    ran = CliRunner().invoke(fold_command, [*arguments, *options])
    assert ran.exit_code == 0, ran.output
    result: dict[str, Any] = json.loads(ran.output.splitlines()[-1])
    return result


def test_the_command(
    store: Store,
    encoder: str,
    journal: Journal,
    release: str,
    make_pictures: MakePictures,
    no_cluster: list[str | None],
    tmp_path: Path,
) -> None:
    stands = {"release": release, "entries": 0, "promoted": False, "reused": True}
    assert command(store, tmp_path) == stands
    assert no_cluster == []
    write_live(store, journal, encoder, "live", *make_pictures([100]))
    result = command(store, tmp_path, "--no-promote", "--catalog", "shop")
    counts = {name: result[name] for name in ("entries", "images", "embedded", "vectors_reused", "since", "promoted")}
    images = PRODUCTS + 1
    assert counts == {
        "entries": 1, "images": images, "embedded": 0, "vectors_reused": images, "since": 0, "promoted": False
    }  # fmt: skip
    assert current_release(store).release == release
    assert command(store, tmp_path)["promoted"]
    assert current_release(store).release == result["release"]
    assert command(store, tmp_path) == {**stands, "release": result["release"]}
    assert np.isfinite(list(vectors_of(store, encoder, open_catalog(store, "shop")).values())).all()
