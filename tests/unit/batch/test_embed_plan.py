"""What a pass decides to compute, against a slow twin."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.batch.embed_known import NOT_KNOWN, Known
from visnet.batch.embed_plan import Goal, PlanFiles, assign, batch_size, open_plan, unit_rows
from visnet.platform.catalog import Catalog
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

SETTINGS = EmbedSettings(gpus_per_actor=0, batch_size=4)
Make = Callable[..., Catalog]
Pictures = Callable[..., list[bytes]]


def plan_of(store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings = SETTINGS) -> PlanFiles:
    return open_plan(Goal(catalog=catalog, made_by=encoder_manifest(store, encoder), crop=28), settings)


def keys(texts: list[str]) -> np.ndarray:
    return np.array([text.rjust(16, "-").encode() for text in texts], "S16")


def slowly(texts: list[str | None], known: list[str]) -> tuple[list[int], list[int]]:
    """Places and rows to be read, one row at a time."""
    seen: dict[str, int] = {}
    places, todo = [], []
    for row, text in enumerate(texts):
        if text is not None and text in known:
            places.append(-1 - known.index(text))
        elif text is not None and text in seen:
            places.append(seen[text])
        else:
            places.append(len(todo))
            if text is not None:
                seen[text] = len(todo)
            todo.append(row)
    return places, todo


@pytest.mark.parametrize("seed", range(20))
def test_assigns_as_its_slow_twin_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"{number:02d}" for number in range(12)]
    texts = [None if random.random() < 0.2 else str(random.choice(names)) for _ in range(random.integers(0, 40))]
    held = sorted(random.choice(names, random.integers(0, 8), replace=False).tolist())
    known = Known(keys(held), np.zeros((len(held), 3), np.int32))
    hashed_N = np.array([text is not None for text in texts], bool)
    place_N, todo_M = assign(keys([text or "" for text in texts]), hashed_N, known)
    assert (place_N.tolist(), todo_M.tolist()) == slowly(texts, held)


def test_finds_what_is_known() -> None:
    known = Known(keys(["b", "d"]), np.zeros((2, 3), np.int32))
    assert known.find(keys(["a", "b", "c", "d", "e"])).tolist() == [NOT_KNOWN, 0, NOT_KNOWN, 1, NOT_KNOWN]
    assert Known(keys([]), np.zeros((0, 3), np.int32)).find(keys(["a"])).tolist() == [NOT_KNOWN]


@pytest.mark.parametrize(
    ("todo", "crop", "batch_size", "rows"),
    [
        (10**6, 28, 256, 2048),
        (10**6, 28, 300, 1800),
        (10**6, 224, 256, 512),
        (10**6, 224, 4096, 531),
        (10**6, 9000, 8, 1),
        (16_000, 28, 256, 500),
        (100, 28, 256, 32),
    ],
)
def test_a_unit_holds_whole_batches_as_many_as_fit(todo: int, crop: int, batch_size: int, rows: int) -> None:
    settings = EmbedSettings(actors=2, batch_size=batch_size)
    assert unit_rows(todo, crop, settings) == rows
    assert unit_rows(todo, crop, dataclasses.replace(settings, unit_rows=7)) == 7


@pytest.mark.parametrize(
    ("crop", "gpus", "wanted", "pictures"), [(224, 0, 256, 16), (224, 1, 256, 256), (28, 0, 256, 256), (2000, 0, 9, 1)]
)
def test_batches_of_photos_are_small_on_cpus(crop: int, gpus: float, wanted: int, pictures: int) -> None:
    assert batch_size(crop, EmbedSettings(gpus_per_actor=gpus, batch_size=wanted)) == pictures


def test_reuses_the_newest_vector_and_only_what_it_needs(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    for version, numbers in (("1", range(6)), ("2", range(3, 9))):
        embed(store, make_catalog(make_pictures(numbers), version=version), encoder, SETTINGS, InProcess())
    files = plan_of(store, make_catalog(make_pictures([0, 4, 8, 20, 4, 20]), version="3"), encoder)
    assert [source[-1] for source in files.plan.sources] == ["2", "1"]
    assert files.todo().tolist() == [[0, 3]]
    place_N = files.places_of(0)
    assert place_N[[3, 5]].tolist() == [0, 0]
    at = files.known().at_K3[-1 - place_N[[0, 1, 2, 4]]].tolist()
    assert at == [[1, 0, 0], [0, 0, 1], [0, 0, 5], [0, 0, 1]]
    assert len(files.known().key_K) == 3


def test_a_plan_stands_once_it_is_written(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    catalog = make_catalog(make_pictures(range(9)))
    first = plan_of(store, catalog, encoder)
    other = make_catalog(make_pictures(range(5)), version="2")
    embed(store, other, encoder, SETTINGS, InProcess())
    again = plan_of(store, catalog, encoder, EmbedSettings(gpus_per_actor=0, batch_size=2))
    assert again.plan == first.plan
    assert (again.plan.todo, again.plan.sources, again.plan.batch_size) == (9, [], 4)


@pytest.mark.parametrize("broken", ["source", "json", "fields"])
def test_a_plan_that_can_not_be_kept_is_made_anew(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, broken: str
) -> None:
    embed(store, make_catalog(make_pictures(range(5))), encoder, SETTINGS, InProcess())
    catalog = make_catalog(make_pictures(range(9)), version="2")
    first = plan_of(store, catalog, encoder)
    assert first.plan.todo == 4
    store.write(f"{first.directory}/units/00000000.parquet", b"of the old plan")
    if broken == "source":
        store.delete_directory(first.plan.sources[0])
    else:
        store.write(f"{first.directory}/plan.json", b"{}" if broken == "fields" else b"{")
    again = plan_of(store, catalog, encoder)
    assert again.plan.todo == (9 if broken == "source" else 4)
    assert not store.exists(f"{again.directory}/units")
