"""What a kill costs the catalogue pass: what it was doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.embedding import SETTINGS, counts, folder, run
from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.errors import StoreError
from visnet.platform.store import Store

Make = Callable[..., Catalog]
Pictures = Callable[..., list[bytes]]


class Killed(BaseException):
    """As a kill, nothing catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """The process dies at its so-manieth file: before it (even) or in the midst of it (odd), when it is not there."""
    written: list[str] = []
    whole = Store.writer

    def writer(self: Store, name: str) -> Any:
        written.append(name)
        if len(written) == number:
            raise Killed
        return whole(self, name)

    monkeypatch.setattr(Store, "writer", writer)
    return written


def content(store: Store, made: EmbeddingsManifest) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder(store, made).iterdir() if path.name != "manifest.json"}


def test_killed_at_any_file_the_next_run_ends_as_if_nothing_had_been(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, tmp_path: Path, encoded: list[int]
) -> None:
    run(store, make_catalog(make_pictures(range(5))), encoder)
    pictures = [*make_pictures(range(19)), b"broken", *make_pictures([18, 2, 30, 31, 32])]
    catalog = make_catalog(pictures, version="2")
    with pytest.MonkeyPatch.context() as patch:
        written = kill_at(patch, 0)
        undisturbed = run(store, catalog, encoder)
    wanted = content(store, undisturbed)
    assert len(written) > 12
    for number in range(1, len(written) + 1):
        store.delete_directory(embeddings_directory(encoder, "shop", "2"))
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, number)
            with pytest.raises(Killed):
                run(store, catalog, encoder)
        encoded.clear()
        made = run(store, catalog, encoder)
        units_before = sum(name.rpartition("/")[0].endswith("units") for name in written[: number - 1])
        assert len(encoded) == 5 - units_before, "what was done is not done again"
        assert (content(store, made), counts(made)) == (wanted, counts(undisturbed))


def test_killed_between_its_manifest_and_its_end_it_leaves_nothing_behind(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make_catalog(make_pictures(range(5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "delete_directory", lambda self, name: None)
        made = run(store, catalog, encoder)
    assert any(Path(store.path("work")).rglob("*.parquet"))
    assert run(store, catalog, encoder) == made
    assert not any(Path(store.path("work")).rglob("*.parquet"))


def test_the_same_pass_twice_at_once_is_made_once(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, encoded: list[int]
) -> None:
    catalog = make_catalog(make_pictures(range(30)))
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: run(store, catalog, encoder), range(3)))
    assert made[0] == made[1] == made[2]
    assert sum(encoded) == 30


def test_a_unit_that_went_missing_is_an_error_and_no_manifest_is_written(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    class Forgetful(InProcess):
        def units(self, work: Any, units: Any) -> Iterator[int]:
            return super().units(work, units[1:])

    catalog = make_catalog(make_pictures(range(9)))
    with pytest.raises(StoreError, match=r"units/00000000\.parquet"):
        embed(store, catalog, encoder, SETTINGS, Forgetful())
    assert counts(run(store, catalog, encoder)) == (9, 9, 0, 0)
