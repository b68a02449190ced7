"""A journal whose writer, or whose database, is killed again and again: what was acknowledged is there, and whole.

Every batch can be told from its entries, and its pictures and vectors from their names, so that a journal that was
killed can be checked without knowing where that was.
"""

import contextlib
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.postgres import postgres_server
from visnet.platform.imaging import content_hash
from visnet.platform.journal import Delete, Entry, Journal, JournalImage, Upsert, Write, open_journal

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
DIGEST = "a" * 64
KILLS, SERVER_KILLS = 20, 8
SIZES = (1, 1, 1, 2, 7, 64, 300, 1_000)
LONGEST_S = 0.25
"""From an acknowledgement to the kill, at most: the largest batches take about that long."""
WRITER = """
import sys
from tests.integration.test_journal_kills import write_on
write_on(sys.argv[1], sys.argv[2])
"""


def batch_of(name: str) -> tuple[list[Write], dict[str, bytes]]:
    """The writes of a batch and their pictures; all is told by its name."""
    chance = random.Random(name)
    writes: list[Write] = []
    images: dict[str, bytes] = {}
    size = chance.choice(SIZES)
    for number in range(size):
        product = f"{name}/{number}/{size}"
        if number % 5 == 4:
            writes.append(Delete(product_id=product))
            continue
        data = f"picture {product}".encode() * chance.randint(1, 800)
        images[content_hash(data)] = data
        image = JournalImage(image_id=product, content_hash=content_hash(data))
        writes.append(Upsert(product_id=product, category="c", attributes={"n": number}, images=(image,)))
    return writes, images


def vector_for(name: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(name), np.uint8).astype(np.float16)


def write_on(location: str, name: str) -> None:
    """Append batch after batch, and print the last sequence of each one that was acknowledged."""
    journal = open_journal(location)
    for number in itertools.count():
        writes, images = batch_of(f"{name}-{number}")
        vectors = {DIGEST: {image: vector_for(image) for image in images}}
        print(journal.append(writes, images=images, vectors=vectors)[-1], flush=True)


def check(journal: Journal, acknowledged: int) -> int:
    """Everything is whole; returns the head."""
    entries: list[Entry] = []
    while found := journal.read(len(entries)):
        entries += found
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert journal.head() == len(entries) >= acknowledged
    place = 0
    while place < len(entries):
        name, first, size = entries[place].write.product_id.split("/")
        assert first == "0"
        writes, images = batch_of(name)
        assert [entry.write for entry in entries[place : place + int(size)]] == writes
        known = journal.vectors(DIGEST, images)
        for image, data in images.items():
            assert journal.image(image) == data
            assert known[image].tolist() == vector_for(image).tolist()
        place += int(size)
    assert journal.without_vector(DIGEST, after=0) == []
    counts = journal.counts()
    named = {image.content_hash for e in entries if isinstance(e.write, Upsert) for image in e.write.images}
    assert (counts.entries, counts.images) == (len(entries), len(named))  # and there is nothing that no entry names
    return len(entries)


def kill_often(location: str, kills: int, kill: Callable[[], None], revive: Callable[[], None]) -> None:
    """Let two processes write, kill at moments of chance, and look at what is left."""
    chance = random.Random(0)
    head = 0
    for attempt in range(kills):
        names = [f"{attempt}{part}" for part in "ab"]
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(writing(location, name)) for name in names]
            acknowledged = 0
            for writer in writers:
                for _ in range(chance.choice([0, 1, 3])):
                    assert writer.stdout is not None
                    acknowledged = max(acknowledged, int(writer.stdout.readline()))
            time.sleep(chance.uniform(0, LONGEST_S))
            kill()
            for writer in writers:
                writer.kill()
                assert writer.stdout is not None
                rest = writer.stdout.read().splitlines(keepends=True)
                acknowledged = max([acknowledged, *(int(line) for line in rest if line.endswith(b"\n"))])
        revive()
        with contextlib.closing(open_journal(location)) as journal:
            found = check(journal, acknowledged)
        assert found >= max(head, acknowledged)
        head = found
    assert head > kills


@contextlib.contextmanager
def writing(location: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, location, name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what a writer says whose server was killed
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def nothing() -> None:
    """Only the writers are killed."""


def test_killed_writers_of_a_file(tmp_path: Path) -> None:
    kill_often(str(tmp_path / "journal"), KILLS, nothing, nothing)


def test_killed_writers_of_a_database() -> None:
    with postgres_server() as server:
        kill_often(server.url, KILLS, nothing, nothing)


def test_a_killed_database() -> None:
    with postgres_server() as server:
        kill_often(server.url, SERVER_KILLS, server.kill, server.start)
