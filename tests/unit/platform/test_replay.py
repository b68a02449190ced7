"""A journal applied to a shard: in order, once, its own products only, and never past what it can't apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.serve.shops import DIMENSION, catalogue, live_shards
from visnet.platform import replay as replay_module
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Delete, Journal, JournalGapError, JournalImage, Upsert, Write, open_journal
from visnet.platform.live_shard import LiveShard
from visnet.platform.partition import shard_of
from visnet.platform.replay import Replay

SHARDS, PRODUCTS = 3, 30
ENCODER = "e" * 64


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return open_journal(str(tmp_path / "journal.sqlite"))


@pytest.fixture
def shards() -> list[LiveShard]:
    return live_shards(*catalogue(PRODUCTS), SHARDS)


def follow(journal: Journal, shards: list[LiveShard], after: int = 0) -> list[Replay]:
    return [
        Replay(journal, shard, number=number, shards=SHARDS, encoder_digest=ENCODER, after=after)
        for number, shard in enumerate(shards)
    ]


def upsert(product: str, picture: str, **attributes: Any) -> Upsert:
    image = JournalImage(image_id=f"{product}-i", content_hash=content_hash(picture.encode()))
    return Upsert(product_id=product, category="new", attributes=attributes, images=(image,))


def write(journal: Journal, *writes: Write, vectors: bool = True, pictures: dict[str, bytes] | None = None) -> None:
    hashes = {image.content_hash for one in writes if isinstance(one, Upsert) for image in one.images}
    known = {ENCODER: {one: vector_of(one) for one in hashes}} if vectors else {}
    journal.append(writes, images=dict.fromkeys(hashes, b"bytes"), vectors=known)


def vector_of(hash_: str) -> np.ndarray:
    vector_D = np.random.default_rng(int(hash_[:8], 16)).normal(size=DIMENSION)
    return (vector_D / np.linalg.norm(vector_D)).astype(np.float16)


def catch_up(replays: list[Replay]) -> None:
    for replay in replays:
        while (news := replay.fetch()) is not None:
            replay.apply(news)


def products(shards: list[LiveShard]) -> dict[str, dict[str, Any]]:
    """What all shards hold, each product with its first row."""
    names = {f"p{number}" for number in range(PRODUCTS)} | {f"n{number}" for number in range(40)}
    found = {}
    for name in names:
        shard = shards[shard_of(name, SHARDS)]
        if len(rows := shard.rows_of(name)):
            found[name] = shard.rows_at(rows[:1])[0]
    return found


def test_writes_reach_the_shard_that_owns_them_and_no_other(journal: Journal, shards: list[LiveShard]) -> None:
    write(journal, upsert("p3", "other", price=5), upsert("n1", "fresh", price=7.5), Delete(product_id="p4"))
    before = [len(shard) for shard in shards]
    replays = follow(journal, shards)
    catch_up(replays)
    found = products(shards)
    assert (found["p3"]["category"], found["p3"]["price"]) == ("new", 5.0)
    assert found["n1"]["price"] == 7.5
    assert "p4" not in found
    assert sum(map(len, shards)) == sum(before)
    assert [replay.sequence for replay in replays] == [3, 3, 3]
    wanted = vector_of(content_hash(b"fresh")).astype(np.float32)
    np.testing.assert_allclose(shards[shard_of("n1", SHARDS)].vector("n1"), wanted, atol=2e-3)


def test_a_start_ends_where_who_followed_is(journal: Journal) -> None:
    dice = np.random.default_rng(0)
    followed, started = (live_shards(*catalogue(PRODUCTS), SHARDS) for _ in range(2))
    replays = follow(journal, followed)
    for turn in range(60):
        name = f"p{dice.integers(PRODUCTS)}" if dice.random() < 0.5 else f"n{dice.integers(40)}"
        write(journal, Delete(product_id=name) if dice.random() < 0.3 else upsert(name, f"{turn}", price=float(turn)))
        if turn % 7 == 0:
            catch_up(replays)
    catch_up(replays)
    starts = follow(journal, started)
    for replay in starts:
        assert sum(replay.start()) < 60  # only the last entry of each product
    strip = {"catalog_part", "catalog_row"}
    one, other = (
        {name: {key: value for key, value in row.items() if key not in strip} for name, row in products(some).items()}
        for some in (followed, started)
    )
    assert one == other
    assert [replay.sequence for replay in starts] == [60] * SHARDS


def test_what_an_index_holds_already_is_not_applied(journal: Journal, shards: list[LiveShard]) -> None:
    write(journal, Delete(product_id="p1"), Delete(product_id="p2"))
    catch_up(follow(journal, shards, after=1))
    assert "p1" in products(shards)
    assert "p2" not in products(shards)


def test_a_product_that_was_deleted_while_an_index_was_built_does_not_come_back(journal: Journal) -> None:
    write(journal, upsert("n1", "a"))
    begun = journal.head()  # the index is built from here on, and holds p5
    write(journal, Delete(product_id="p5"))
    rebuilt = live_shards(*catalogue(PRODUCTS), SHARDS)
    for replay in follow(journal, rebuilt, after=begun):
        list(replay.start())
    assert "p5" not in products(rebuilt)


def test_an_entry_without_a_vector_holds_up_what_follows_until_it_has_one(
    journal: Journal, shards: list[LiveShard]
) -> None:
    mine = [name for name in (f"n{number}" for number in range(40)) if shard_of(name, SHARDS) == 0]
    write(journal, upsert(mine[0], "a"))
    write(journal, upsert(mine[1], "b"), vectors=False)
    write(journal, upsert(mine[2], "c"))
    replay = follow(journal, shards)[0]
    for _ in range(3):
        news = replay.fetch()
        assert news is not None
        _, applied = replay.apply(news)
    assert (replay.sequence, applied) == (1, [])
    assert mine[0] in products(shards)
    assert mine[2] not in products(shards)
    journal.add_vectors(ENCODER, {content_hash(b"b"): vector_of(content_hash(b"b"))})
    catch_up([replay])
    assert replay.sequence == 3
    assert set(mine[:3]) <= set(products(shards))


def test_a_start_stops_at_an_entry_without_a_vector_too(journal: Journal, shards: list[LiveShard]) -> None:
    mine = [name for name in (f"n{number}" for number in range(40)) if shard_of(name, SHARDS) == 0]
    write(journal, upsert(mine[0], "a"))
    write(journal, upsert(mine[1], "b"), vectors=False)
    replay = follow(journal, shards)[0]
    list(replay.start())
    assert replay.sequence == 1
    assert mine[0] in products(shards)


def test_a_picture_that_the_shard_holds_needs_no_vector_of_the_journal(
    journal: Journal, shards: list[LiveShard]
) -> None:
    known = next(f"p{number}" for number in range(PRODUCTS) if shard_of(f"p{number}", SHARDS) == 0)
    was = shards[0].vector(known)
    write(journal, upsert(known, f"picture {known[1:]}", price=1.0), vectors=False)
    replay = follow(journal, shards)[0]
    catch_up([replay])
    assert products(shards)[known]["price"] == 1.0
    np.testing.assert_allclose(shards[0].vector(known), was, atol=1e-3)


def test_batches_follow_each_other(journal: Journal, shards: list[LiveShard], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "BATCH", 4)
    write(journal, *[upsert(f"n{number}", f"{number}") for number in range(30)])
    replays = follow(journal, shards)
    catch_up(replays)
    assert {f"n{number}" for number in range(30)} <= set(products(shards))
    again = live_shards(*catalogue(PRODUCTS), SHARDS)
    for replay in follow(journal, again):
        assert sum(replay.start()) <= 30
    assert products(again).keys() == products(shards).keys()


def test_attributes_that_the_index_has_not_or_can_not_hold_are_left_out(
    journal: Journal, shards: list[LiveShard]
) -> None:
    write(journal, upsert("n1", "a", price="dear", colour="red"), upsert("n2", "b", price=3))
    catch_up(follow(journal, shards))
    found = products(shards)
    assert found["n1"]["price"] is None
    assert "colour" not in found["n1"]
    assert found["n2"]["price"] == 3.0


def test_who_comes_after_a_trim_is_refused(journal: Journal, shards: list[LiveShard]) -> None:
    write(journal, upsert("n1", "a"), upsert("n2", "b"))
    journal.trim(1)
    with pytest.raises(JournalGapError):
        list(follow(journal, shards)[0].start())
    catch_up(follow(journal, shards, after=1))
