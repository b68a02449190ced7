"""The catalogue pass in one process: its accounts, and what it reuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.embedding import SETTINGS, counts, folder, quarantine_of, rows_of, run
from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import embeddings_directory, vector_matrix
from visnet.platform.encoder import Encoder, load_encoder, save_encoder
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.errors import StoreError
from visnet.platform.imaging import Preprocessing, content_hash
from visnet.platform.networks import make_recipe
from visnet.platform.store import Store

Make = Callable[..., Catalog]
Pictures = Callable[..., list[bytes]]


def test_every_row_has_the_vector_that_the_encoder_gives_its_picture(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    pictures = make_pictures(range(23))
    made = run(store, make_catalog(pictures), encoder)
    rows = rows_of(store, made)
    assert [row["image_id"] for row in rows] == [f"i{number:05d}" for number in range(23)]
    assert [row["content_hash"] for row in rows] == [content_hash(picture) for picture in pictures]
    assert [row["catalog_row"] for row in rows] == [number % 10 for number in range(23)]
    wanted_ND = load_encoder(store, encoder).encode(pictures).astype(np.float16)
    assert np.allclose(np.array([row["vector"] for row in rows]), wanted_ND, atol=1e-3)
    table = pq.read_table(folder(store, made) / made.parts[0])
    assert vector_matrix(table["vector"]).dtype == np.float16
    assert (counts(made), made.rows, len(made.parts)) == ((23, 23, 0, 0), 23, 3)
    assert not Path(store.path("work")).exists() or not any(Path(store.path("work")).rglob("*.parquet"))


def test_what_cannot_be_used_is_in_the_quarantine_with_its_reason(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, tmp_path: Path
) -> None:
    good = make_pictures(range(8))
    (tmp_path / "there.png").write_bytes(good[7])
    (tmp_path / "cut.png").write_bytes(good[6][:120])
    (tmp_path / "folder.png").mkdir()
    pictures = [
        *good[:6],
        b"",
        b"no picture",
        good[6][:120],
        str(tmp_path / "there.png"),
        str(tmp_path / "missing.png"),
        str(tmp_path / "cut.png"),
        str(tmp_path / "folder.png"),
        "ftp://shop/1.png",
        b"no picture",
    ]
    made = run(store, make_catalog(pictures), encoder)
    reasons = quarantine_of(store, made)
    assert counts(made) == (15, 7, 0, 8)
    assert [row["image_id"] for row in rows_of(store, made)] == [f"i{n:05d}" for n in [*range(6), 9]]
    assert "0 bytes" in reasons["i00006"]
    assert reasons["i00007"] == reasons["i00014"]
    assert "not an image" in reasons["i00007"]
    assert "broken" in reasons["i00008"]
    assert "missing.png" in reasons["i00010"]
    assert "broken" in reasons["i00011"]
    assert "folder.png" in reasons["i00012"]
    assert "scheme" in reasons["i00013"]


def test_too_large_a_picture_is_quarantined(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visnet.platform.imaging.MAX_IMAGE_PIXELS", 100)
    made = run(store, make_catalog([*make_pictures([1]), *make_pictures([2], side=11)]), encoder)
    assert (counts(made), list(quarantine_of(store, made))) == ((2, 1, 0, 1), ["i00001"])
    assert "11x11 pixels" in quarantine_of(store, made)["i00001"]


def test_a_picture_that_breaks_its_decoder_does_not_end_the_pass(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = make_pictures(range(5))
    whole = Preprocessing.pixels

    def pixels(self: Preprocessing, data: bytes, **options: Any) -> np.ndarray:
        if data == pictures[3]:
            raise ZeroDivisionError("in a table of the file")
        return whole(self, data, **options)

    monkeypatch.setattr(Preprocessing, "pixels", pixels)
    made = run(store, make_catalog(pictures), encoder)
    assert counts(made) == (5, 4, 0, 1)
    assert quarantine_of(store, made) == {"i00003": "the decoder failed: ZeroDivisionError: in a table of the file"}


def test_if_nothing_can_be_used_that_is_an_error_and_the_next_run_tries_again(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, tmp_path: Path
) -> None:
    catalog = make_catalog([str(tmp_path / "later.png")] * 3)
    with pytest.raises(StoreError, match=r"none of the 3 images can be used; the first: .*later\.png"):
        run(store, catalog, encoder)
    (tmp_path / "later.png").write_bytes(make_pictures([0])[0])
    assert counts(run(store, catalog, encoder)) == (3, 1, 2, 0)


def test_products_with_the_same_picture_share_its_vector(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, encoded: list[int]
) -> None:
    one, two = make_pictures([1, 2])
    made = run(store, make_catalog([one, two, one, one, *make_pictures(range(10, 20)), two]), encoder)
    assert (counts(made), sum(encoded)) == ((15, 12, 3, 0), 12)
    vectors = [row["vector"] for row in rows_of(store, made)]
    assert vectors[0] == vectors[2] == vectors[3] != vectors[1] == vectors[14]


def test_a_changed_catalogue_costs_what_changed(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, encoded: list[int]
) -> None:
    first = run(store, make_catalog(make_pictures(range(100))), encoder)
    before = {row["content_hash"]: row["vector"] for row in rows_of(store, first)}
    encoded.clear()
    changed = make_catalog([*make_pictures(range(99, 9, -1)), *make_pictures([900, 901])], version="2")
    second = run(store, changed, encoder)
    assert (counts(second), sum(encoded)) == ((92, 2, 90, 0), 2)
    rows = rows_of(store, second)
    assert all(row["vector"] == before[row["content_hash"]] for row in rows[:90])
    assert second.sources == [embeddings_directory(encoder, "shop", "1")]
    encoded.clear()
    assert counts(run(store, make_catalog(make_pictures(range(50, 60)), version="3"), encoder)) == (10, 0, 10, 0)
    assert sum(encoded) == 0


def test_embeddings_need_not_their_sources_any_more(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    run(store, make_catalog(make_pictures(range(9))), encoder)
    second = run(store, make_catalog(make_pictures(range(3, 9)), version="2"), encoder)
    store.delete_directory(second.sources[0])
    assert len(rows_of(store, second)) == 6
    assert counts(run(store, make_catalog(make_pictures(range(9)), version="4"), encoder)) == (9, 3, 6, 0)


def test_another_encoder_is_another_set_and_both_stand(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, encoded: list[int]
) -> None:
    catalog = make_catalog(make_pictures(range(7)))
    first = run(store, catalog, encoder)
    other = save_encoder(store, Encoder(make_recipe("visnet-tiny", width=4, dimension=16))).encoder
    second = run(store, catalog, other)
    assert counts(second) == (7, 7, 0, 0)
    assert folder(store, first) != folder(store, second)
    assert len(rows_of(store, first)[0]["vector"]) == 8
    assert len(rows_of(store, second)[0]["vector"]) == 16
    encoded.clear()
    assert embed(store, catalog, encoder, SETTINGS, InProcess())[1]["seconds"] == 0
    assert encoded == []


def test_vectors_of_another_digest_are_not_reused(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures
) -> None:
    run(store, make_catalog(make_pictures(range(4))), encoder)
    name = f"encoders/{encoder}/manifest.json"
    digest = encoder_manifest(store, encoder).digest
    directory = embeddings_directory(encoder, "shop", "1")
    old = store.read(f"{directory}/manifest.json").replace(digest.encode(), b"e" * 64)
    store.write(f"{directory}/manifest.json", old)
    assert store.exists(name)
    assert counts(run(store, make_catalog(make_pictures(range(4)), version="2"), encoder)) == (4, 4, 0, 0)
