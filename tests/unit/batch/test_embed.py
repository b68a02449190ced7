"""The catalogue pass in one process: its accounts, what it reuses, and what a kill costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.picture_server import PictureServer, serve_pictures
from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory, find_embeddings, vector_matrix
from visnet.platform.encoder import Encoder, encoder_manifest, load_encoder, save_encoder
from visnet.platform.errors import StoreError
from visnet.platform.imaging import Preprocessing, content_hash
from visnet.platform.networks import make_recipe
from visnet.platform.settings import EmbedSettings, FetchSettings
from visnet.platform.store import Store

FETCH = FetchSettings(timeout_s=0.5, deadline_s=0.8, attempts=2, backoff_s=0.01, per_host=4, at_once=8)
SETTINGS = EmbedSettings(gpus_per_actor=0, batch_size=4, unit_rows=4, fetch=FETCH)
Make = Callable[..., Catalog]
Pictures = Callable[..., list[bytes]]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 10 rows."""
    monkeypatch.setattr(catalog_module, "ROWS_PER_PART", 10)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the encoder was given."""
    counts: list[int] = []
    whole = Encoder.encode_pixels

    def counted(self: Encoder, pixel_BHWC: np.ndarray, **options: Any) -> np.ndarray:
        counts.append(len(pixel_BHWC))
        return whole(self, pixel_BHWC, **options)

    monkeypatch.setattr(Encoder, "encode_pixels", counted)
    return counts


def run(store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings = SETTINGS) -> EmbeddingsManifest:
    return embed(store, catalog, encoder, settings, InProcess())[0]


def folder(store: Store, made: EmbeddingsManifest) -> Path:
    return Path(store.path(made.directory))


def rows_of(store: Store, made: EmbeddingsManifest) -> list[dict[str, Any]]:
    """All rows, as any reader of Parquet finds them in the directory."""
    paths = sorted(folder(store, made).glob("part-*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def quarantine_of(store: Store, made: EmbeddingsManifest) -> dict[str, str]:
    rows = pq.ParquetFile(folder(store, made) / "quarantine.parquet").read().to_pylist()
    return {row["image_id"]: row["reason"] for row in rows}


def counts(made: EmbeddingsManifest) -> tuple[int, int, int, int]:
    return made.images, made.embedded, made.reused, made.quarantined


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


@pytest.fixture
def server(make_pictures: Pictures) -> Iterator[PictureServer]:
    with serve_pictures({str(number): picture for number, picture in enumerate(make_pictures(range(30)))}) as server:
        yield server


def test_downloads_end_as_vectors_or_in_the_quarantine(
    store: Store, encoder: str, make_catalog: Make, server: PictureServer
) -> None:
    moods = ["plain", "late-1", "moved", "lying", "cut-once", "patience", "slow", "drip", "down", "gone", "loop"]
    moods += ["astray", "cut", "short", "huge"]
    made = run(store, make_catalog([f"{server.url}/{mood}/{number}" for number, mood in enumerate(moods)]), encoder)
    assert [moods[int(row["image_id"][1:])] for row in rows_of(store, made)] == moods[:6]
    reasons = {moods[int(image[1:])]: reason for image, reason in quarantine_of(store, made).items()}
    assert counts(made) == (15, 6, 0, 9)
    assert "timed out" in reasons["slow"]
    assert "503" in reasons["down"]
    assert "404" in reasons["gone"]
    assert "redirects" in reasons["loop"]
    assert "the image is broken" in reasons["short"]
    assert "more than" in reasons["huge"]


def test_a_host_is_asked_no_harder_than_allowed(
    store: Store, encoder: str, make_catalog: Make, server: PictureServer
) -> None:
    server.hold_s = 0.05
    settings = dataclasses.replace(SETTINGS, unit_rows=30)
    made = run(store, make_catalog([f"{server.url}/plain/{number}" for number in range(30)]), encoder, settings)
    assert counts(made) == (30, 30, 0, 0)
    assert server.most_at_once == FETCH.per_host


def test_what_was_downloaded_and_is_known_is_not_computed(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, server: PictureServer, encoded: list[int]
) -> None:
    first = run(store, make_catalog(make_pictures(range(10))), encoder)
    encoded.clear()
    urls = [f"{server.url}/plain/{number}" for number in (3, 20, 4, 20, 21)]
    second = run(store, make_catalog(urls, version="2"), encoder)
    assert (counts(second), sum(encoded)) == ((5, 2, 3, 0), 2)
    before, rows = rows_of(store, first), rows_of(store, second)
    assert [rows[0]["vector"], rows[2]["vector"]] == [before[3]["vector"], before[4]["vector"]]
    assert rows[1]["vector"] == rows[3]["vector"]
    assert [row["content_hash"] for row in rows] == [content_hash(make_pictures([n])[0]) for n in (3, 20, 4, 20, 21)]


def test_what_is_in_quarantine_can_be_tried_again(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, server: PictureServer, encoded: list[int]
) -> None:
    moods = ["plain", "late-2", "gone", "late-4", "plain", "plain"]
    urls: list[bytes | str] = [f"{server.url}/{mood}/{number}" for number, mood in enumerate(moods)]
    catalog = make_catalog([*urls, *make_pictures([1, 50]), b"broken"])
    first = run(store, catalog, encoder)
    assert counts(first) == (9, 5, 0, 4)
    seen = dict(server.requests)
    encoded.clear()
    again, _ = embed(store, catalog, encoder, SETTINGS, InProcess(), retry=True)
    assert (again.attempt, counts(again), sum(encoded)) == (2, (9, 0, 6, 3), 0), "its bytes are another row's too"
    asked = {path for path, count in server.requests.items() if count > seen[path]}
    assert asked == {"/late-2/1", "/gone/2", "/late-4/3"}
    assert find_embeddings(store, encoder, "shop", "1") == again
    rows = rows_of(store, again)
    assert [row["image_id"][-1] for row in rows] == list("014567")
    assert [row["content_hash"] for row in rows[:2]] == [content_hash(make_pictures([n])[0]) for n in (0, 1)]
    assert run(store, catalog, encoder) == again
    third, _ = embed(store, catalog, encoder, SETTINGS, InProcess(), retry=True)
    assert (third.attempt, counts(third)) == (3, (9, 1, 6, 2))


def test_trusted_uris_are_not_read_again(
    store: Store, encoder: str, make_catalog: Make, make_pictures: Pictures, server: PictureServer, encoded: list[int]
) -> None:
    urls = [f"{server.url}/plain/{number}" for number in range(6)]
    first = run(store, make_catalog([*urls[:4], b"broken"]), encoder)
    server.requests.clear()
    encoded.clear()
    changed = make_catalog([urls[5], urls[2], urls[0], urls[2], None], version="2")
    second = run(store, changed, encoder, dataclasses.replace(SETTINGS, trust_uris=True))
    assert (counts(second), sum(encoded), list(server.requests)) == ((5, 1, 3, 1), 1, ["/plain/5"])
    before, rows = rows_of(store, first), rows_of(store, second)
    for row, number in ((1, 2), (2, 0), (3, 2)):
        assert (rows[row]["vector"], rows[row]["content_hash"]) == (
            before[number]["vector"],
            before[number]["content_hash"],
        )
    server.requests.clear()
    third = run(store, make_catalog(urls[:2], version="3"), encoder)
    assert (counts(third), len(server.requests)) == ((2, 0, 2, 0), 2), "unless told so, a uri is read"


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
