"""The journal on both of its databases: what was written comes back, in order, once, and is forgotten when told to."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.journals import DIGEST, OTHER, append, opened, picture, postgres_location, upsert
from tests.postgres import Postgres, postgres_server
from visnet.platform import journal_sql, journal_tables
from visnet.platform.errors import StoreError
from visnet.platform.imaging import content_hash
from visnet.platform.journal import (
    Delete,
    Entry,
    Journal,
    JournalGapError,
    JournalImage,
    Upsert,
    Write,
    open_journal,
)
from visnet.platform.journal_sql import SqlJournal

NASTY = "ünï \U0001f457 'quoted' \"%s ? \\ \u202e"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "journal.sqlite")
    return postgres_location(request.getfixturevalue("server"))


@pytest.fixture
def journal(location: str) -> Iterator[Journal]:
    with opened(location) as journal:
        yield journal


def test_an_empty_journal(journal: Journal) -> None:
    assert journal.head() == journal.trimmed() == journal.trim(5) == 0
    assert journal.read(0) == list(journal.latest(0)) == journal.without_vector(DIGEST, after=0) == []
    assert journal.image(picture("a")[0]) is None
    assert journal.vectors(DIGEST, [picture("a")[0]]) == {}
    assert journal.append([], images={}, vectors={}) == []
    assert journal.counts().entries == journal.counts().images == journal.counts().image_bytes == 0


def test_what_is_written_comes_back_as_it_was(location: str, journal: Journal) -> None:
    attributes = {
        NASTY: f"{NASTY}\0\ud800",
        "deep": [1, 2.5, -0.1, 10**30, True, None, {"": []}],
    }
    writes = [
        Upsert(product_id=NASTY, category=f"{NASTY}\0", attributes=attributes, images=upsert("p", "b", "a").images),
        Delete(product_id="gone"),
        upsert("q", "a"),
    ]
    vectors = {DIGEST: {picture("a")[0]: np.array([0.1, -2, 3]), picture("b")[0]: np.ones(3, np.float32)}}
    assert append(journal, *writes, vectors=vectors) == [1, 2, 3]
    with opened(location) as again:
        assert [entry.write for entry in again.read(0)] == writes
        assert [entry.sequence for entry in again.read(0)] == [1, 2, 3]
        assert [again.image(picture(name)[0]) for name in "abc"] == [picture("a")[1], picture("b")[1], None]
        found = again.vectors(DIGEST, [picture(name)[0] for name in "abc"])
        assert {name: vector_D.dtype for name, vector_D in found.items()} == dict.fromkeys(found, np.float16)
        assert found[picture("a")[0]].tolist() == np.array([0.1, -2, 3], np.float16).tolist()
        assert sorted(found) == sorted(picture(name)[0] for name in "ab")
        assert again.vectors(OTHER, found) == {}
        assert again.head() == 3


def test_a_picture_and_a_vector_are_kept_once(journal: Journal) -> None:
    name = picture("a")[0]
    append(journal, upsert("p", "a"), upsert("q", "a"), vectors={DIGEST: {name: np.ones(2)}})
    append(journal, upsert("p", "a", price=2), vectors={DIGEST: {name: np.zeros(2)}})
    journal.append([upsert("p", "a", price=3)], images={}, vectors={})  # is known
    counts = journal.counts()
    assert (counts.entries, counts.images, counts.image_bytes) == (4, 1, len(picture("a")[1]))
    assert journal.vectors(DIGEST, [name])[name].tolist() == [1, 1]


def test_thousands_at_once(journal: Journal) -> None:
    names = [content_hash(f"{number}".encode()) for number in range(2_500)]
    writes = [
        Upsert(product_id=f"p{n}", category="c", attributes={}, images=(JournalImage(image_id="i", content_hash=name),))
        for n, name in enumerate(names)
    ]
    images = {name: f"{number}".encode() for number, name in enumerate(names)}
    vectors = {name: np.full(3, number % 100) for number, name in enumerate(names)}
    for _ in range(2):
        journal.append(writes, images=images, vectors={DIGEST: vectors})
    assert [entry.sequence for entry in journal.read(10, limit=3_000)] == list(range(11, 3_011))
    assert [entry.sequence for entry in journal.latest(0)] == list(range(2_501, 5_001))
    found = journal.vectors(DIGEST, names)
    assert all(found[name][0] == number % 100 for number, name in enumerate(names))
    assert journal.trim(2_600) == 2_600
    assert journal.counts().images == 2_400
    assert journal.trim(5_000) == 2_400
    assert journal.counts().images == len(journal.vectors(DIGEST, names)) == 0


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Delete(product_id=""), "product_id that is not empty"),
        (lambda: Delete(product_id="a\0b"), "holds no NUL"),
        (lambda: Delete(product_id="\ud800"), "Unicode text"),
        (lambda: Delete(product_id="ü" * 513), "at most 1024 bytes in UTF-8, got 1026"),
        (lambda: JournalImage(image_id="a\0", content_hash="0" * 32), "image_id"),
        (lambda: JournalImage(image_id="a", content_hash="0" * 31), "32 hex digits"),
        (lambda: JournalImage(image_id="a", content_hash="F" * 32), "32 hex digits"),
        (lambda: upsert("p"), "at least one image of product 'p'"),
        (lambda: upsert("p", "a", "a"), "different image ids"),
    ],
)
def test_what_no_journal_can_keep_is_refused_at_once(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make()


@pytest.mark.parametrize("value", [float("nan"), (1, 2), {1: 2}, object(), b"bytes", np.float32(1), {"a": {2}}])
def test_attributes_that_would_come_back_as_others_are_refused(journal: Journal, value: object) -> None:
    with pytest.raises(ValueError, match="attributes of product 'p' are not JSON values"):
        append(journal, upsert("q", "a"), upsert("p", "a", value=value))
    assert journal.head() == 0


def test_pictures_and_vectors_that_nobody_names_are_refused(journal: Journal) -> None:
    (name, data), (other, _) = picture("a"), picture("b")
    with pytest.raises(ValueError, match=f"no write names the image {other}"):
        journal.append([upsert("p", "a")], images={name: data, other: b""}, vectors={})
    with pytest.raises(ValueError, match=f"no write names the image {name}"):
        journal.append([], images={}, vectors={DIGEST: {name: np.ones(2)}})
    for wrong in (np.ones((2, 2)), np.array([]), np.array([1e6]), np.array([np.nan])):
        with pytest.raises(ValueError, match="vector of finite float16"):
            journal.append([upsert("p", "a")], images={name: data}, vectors={DIGEST: {name: wrong}})
    assert journal.counts().head == journal.counts().images == 0


def test_a_write_that_fails_half_way_leaves_nothing(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    append(journal, upsert("p", "a"))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(journal_sql, "add_vectors", fail)
        with pytest.raises(ZeroDivisionError):
            append(journal, upsert("q", "b"), Delete(product_id="p"))
    assert journal.head() == len(journal.read(0)) == journal.counts().images == 1
    assert append(journal, Delete(product_id="p")) == [2]


def test_vectors_of_another_encoder(journal: Journal) -> None:
    a, b, c = (picture(name)[0] for name in "abc")
    append(journal, upsert("p", "c", "b"), upsert("q", "a"), vectors={DIGEST: {a: np.ones(2), b: np.ones(2)}})
    assert journal.without_vector(DIGEST, after=0) == [c]
    assert journal.without_vector(OTHER, after=0) == [*sorted([b, c]), a]
    assert journal.without_vector(OTHER, after=0, limit=1) == sorted([b, c])[:1]
    assert journal.without_vector(OTHER, after=1) == [a]
    journal.add_vectors(OTHER, {a: np.ones(5), "0" * 32: np.ones(5)})
    assert journal.without_vector(OTHER, after=1) == []
    assert sorted(journal.vectors(OTHER, [a, b, "0" * 32])) == [a]  # nobody names the last one
    with pytest.raises(ValueError, match="32 hex digits"):
        journal.add_vectors(OTHER, {"x": np.ones(5)})


def test_a_reader_in_front_of_what_was_trimmed_or_behind_the_end_is_refused(location: str, journal: Journal) -> None:
    append(journal, *(upsert(f"p{number}", number) for number in range(6)))
    assert journal.trim(4) == 4
    with opened(location) as again:
        for after in (0, 3):
            with pytest.raises(JournalGapError, match=f"up to 4 are in an index already.* from {after + 1} on"):
                again.read(after)
            with pytest.raises(JournalGapError, match="up to 4"):
                list(again.latest(after))
        assert [entry.sequence for entry in again.read(4)] == [5, 6]
        assert again.read(6) == list(again.latest(6)) == []
        with pytest.raises(JournalGapError, match="ends at 6, but it is to be read on from 7"):
            again.read(7)


def test_the_head_never_goes_back(location: str, journal: Journal) -> None:
    append(journal, upsert("p", "a"), upsert("q", "b"))
    assert journal.trim(1_000) == 2
    assert journal.trim(1_000) == 0
    with opened(location) as again:
        assert again.head() == again.trimmed() == journal.head() == 2
        assert append(again, Delete(product_id="p")) == [3]
    assert journal.head() == 3


def test_trimming_while_it_is_replayed(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_sql, "PAGE", 2)
    append(journal, *(upsert(f"p{number}", number) for number in range(6)))
    replayed = journal.latest(0)
    assert [next(replayed).sequence, next(replayed).sequence] == [1, 2]
    append(journal, upsert("p5", 7))
    assert [next(replayed).sequence, next(replayed).sequence] == [3, 4]
    journal.trim(5)
    with pytest.raises(JournalGapError, match="up to 5"):
        next(replayed)


class Oracle:
    """What a journal must do, in lists."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Write]] = []
        self.head = self.trimmed = 0
        self.known: set[tuple[str, str]] = set()

    def named(self, after: int) -> list[str]:
        found = [(sequence, name) for sequence, write in self.entries if sequence > after for name in self.names(write)]
        first = {name: sequence for sequence, name in reversed(found)}
        return sorted(first, key=lambda name: (first[name], name))

    @staticmethod
    def names(write: Write) -> set[str]:
        return {image.content_hash for image in write.images} if isinstance(write, Upsert) else set()

    def read(self, after: int, upto: int) -> list[tuple[int, Write]]:
        return [entry for entry in self.entries if after < entry[0] <= upto]

    def latest(self, after: int, upto: int) -> list[tuple[int, Write]]:
        last = {write.product_id: (sequence, write) for sequence, write in self.read(after, upto)}
        return sorted(last.values(), key=lambda entry: entry[0])

    def trim(self, upto: int) -> int:
        upto = max(self.trimmed, min(upto, self.head))
        before, self.trimmed = len(self.entries), upto
        self.entries = [entry for entry in self.entries if entry[0] > upto]
        left = set(self.named(0))
        self.known = {pair for pair in self.known if pair[1] in left}
        return before - len(self.entries)


def plain(entries: Iterator[Entry] | list[Entry]) -> list[tuple[int, Write]]:
    return [(entry.sequence, entry.write) for entry in entries]


@pytest.mark.parametrize("seed", range(4))
def test_like_the_oracle_whatever_happens(location: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_sql, "PAGE", 5)
    monkeypatch.setattr(journal_tables, "TRIM_STEP", 4)
    chance = random.Random(seed)
    oracle = Oracle()
    with opened(location) as one, opened(location) as two:
        for _ in range(60):
            journal = chance.choice([one, two])
            action = chance.choice(["append", "append", "append", "add", "trim"])
            if action == "append":
                random_append(chance, journal, oracle)
            elif action == "add":
                digest = chance.choice([DIGEST, OTHER])
                names = chance.sample([picture(number)[0] for number in range(30)], 5)
                journal.add_vectors(digest, {name: np.ones(2) for name in names})
                oracle.known |= {(digest, name) for name in names if name in oracle.named(0)}
            else:
                upto = chance.randint(0, oracle.head // 2 + 2)
                assert journal.trim(upto) == oracle.trim(upto)
            compare(chance, one, oracle)
            compare(chance, two, oracle)


def random_append(chance: random.Random, journal: Journal, oracle: Oracle) -> None:
    products = [f"p{number}" for number in range(12)]
    writes: list[Write] = [
        Delete(product_id=chance.choice(products))
        if chance.random() < 0.3
        else upsert(chance.choice(products), *chance.sample(range(30), chance.randint(1, 3)))
        for _ in range(chance.randint(1, 9))
    ]
    named = sorted(set().union(*map(Oracle.names, writes)))
    given = chance.sample(named, len(named) // 2)
    sequences = append(journal, *writes, vectors={DIGEST: {name: np.ones(2) for name in given}})
    assert sequences == list(range(oracle.head + 1, oracle.head + len(writes) + 1))
    oracle.entries += zip(sequences, writes, strict=True)
    oracle.head += len(writes)
    oracle.known |= {(DIGEST, name) for name in given}


def compare(chance: random.Random, journal: Journal, oracle: Oracle) -> None:
    assert (journal.head(), journal.trimmed()) == (oracle.head, oracle.trimmed)
    after = chance.randint(oracle.trimmed, oracle.head)
    upto = chance.randint(after, oracle.head + 3)
    assert plain(journal.read(after)) == oracle.read(after, oracle.head)
    assert plain(journal.read(after, limit=3, upto=upto)) == oracle.read(after, upto)[:3]
    assert plain(journal.latest(after)) == oracle.latest(after, oracle.head)
    assert plain(journal.latest(after, upto=upto)) == oracle.latest(after, upto)
    every = [picture(number)[0] for number in range(30)]
    for digest in (DIGEST, OTHER):
        missing = [name for name in oracle.named(after) if (digest, name) not in oracle.known]
        assert journal.without_vector(digest, after=after) == missing
        assert journal.without_vector(digest, after=after, limit=4) == missing[:4]
        assert {(digest, name) for name in journal.vectors(digest, every)} == {
            p for p in oracle.known if p[0] == digest
        }
    assert {name for name in every if journal.image(name) is not None} == set(oracle.named(0))
    counts = journal.counts()
    assert (counts.entries, counts.images) == (len(oracle.entries), len(oracle.named(0)))


def test_writers_at_once_and_a_reader_that_follows(location: str) -> None:
    writers, rounds = 6, 25
    done = threading.Event()

    def write(writer: int) -> list[int]:
        mine: list[int] = []
        with opened(location) as journal:
            for number in range(rounds):
                writes = [upsert(f"{writer}-{number}-{part}", part) for part in range(1 + number % 3)]
                mine += append(journal, *writes)
        return mine

    def follow() -> list[Entry]:
        seen: list[Entry] = []
        with opened(location) as journal:
            while True:
                ended = done.is_set()
                head = journal.head()
                found = journal.read(len(seen), limit=7)
                assert [entry.sequence for entry in found] == list(range(len(seen) + 1, len(seen) + len(found) + 1))
                assert head <= len(seen) + len(found) or len(found) == 7
                seen += found
                if ended and not found:
                    return seen

    with ThreadPoolExecutor(writers + 2) as pool:
        followers = [pool.submit(follow) for _ in range(2)]
        try:
            written = list(pool.map(write, range(writers)))
        finally:
            done.set()
        for follower in followers:
            entries = follower.result()
            assert [entry.sequence for entry in entries] == sorted(number for mine in written for number in mine)
            at = {entry.sequence: entry.write.product_id for entry in entries}
            for writer, mine in enumerate(written):
                expected = [f"{writer}-{number}-{part}" for number in range(rounds) for part in range(1 + number % 3)]
                assert [at[sequence] for sequence in mine] == expected


def test_one_journal_in_many_threads(journal: Journal) -> None:
    def work(number: int) -> None:
        append(journal, upsert(f"p{number}", number))
        assert journal.head() >= 1
        assert journal.read(0)
        assert journal.image(picture(number)[0]) == picture(number)[1]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(30)))
    assert journal.head() == journal.counts().images == 30


def test_many_open_a_new_journal_at_once(location: str) -> None:
    ready = threading.Barrier(8)

    def start(number: int) -> list[int]:
        ready.wait()
        with opened(location) as journal:
            return append(journal, Delete(product_id=f"p{number}"))

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(8))) == [[number] for number in range(1, 9)]


def test_a_journal_of_another_version_is_refused(location: str, journal: Journal) -> None:
    assert isinstance(journal, SqlJournal)
    journal._write(lambda transaction: transaction.run("UPDATE journal_state SET version = 2"))
    with pytest.raises(StoreError, match="has schema version 2; this visnet reads 1"):
        open_journal(location)


def test_a_closed_journal_says_so(journal: Journal) -> None:
    append(journal, upsert("p", "a"))
    journal.close()
    journal.close()
    for use in (journal.head, lambda: journal.read(0), lambda: append(journal, Delete(product_id="p"))):
        with pytest.raises(StoreError, match="closed"):
            use()


@pytest.mark.parametrize("location", ["", "sqlite://", "mysql://host/db", "s3://bucket/journal"])
def test_an_unknown_place_is_refused(location: str) -> None:
    with pytest.raises(StoreError, match="can't open the journal"):
        open_journal(location)
