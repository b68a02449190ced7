"""Pictures that the catalogue names by their URLs: fetched with patience, accounted for, not computed twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest

from tests.embedding import FETCH, SETTINGS, counts, quarantine_of, rows_of, run
from tests.picture_server import PictureServer, serve_pictures
from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import find_embeddings
from visnet.platform.imaging import content_hash
from visnet.platform.store import Store

Make = Callable[..., Catalog]
Pictures = Callable[..., list[bytes]]


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
