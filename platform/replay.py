"""The journal applied to one shard: what was written since the index was built, in order.

A shard that starts needs only the last entry of every product; one that follows reads what is new. An entry whose
image has no vector of this encoder yet holds the shard up until somebody has embedded it: nothing is passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visnet.platform.attributes import held_attributes
from visnet.platform.journal import Entry, Journal, JournalImage, Upsert
from visnet.platform.live_shard import Change, LiveShard, Remove, Replace
from visnet.platform.partition import shard_of

# N rows, D embedding

BATCH = 256
"""Entries applied at once: searches wait meanwhile."""


@dataclass(frozen=True, eq=False)
class News:
    """Entries of the journal that a shard has not applied."""

    entries: Sequence[Entry]
    """Those of the shard's own products."""
    vectors: Mapping[str, np.ndarray]
    """By content hash, as far as they are known."""
    upto: int
    """All entries up to this one are among them, or belong to other shards."""


class Replay:
    """Brings a shard up to date with a journal.

    Args:
        number, shards: which shard of how many it is.
        encoder_digest: whose vectors the shard holds.
        after: the index holds the journal's entries up to this one.
    """

    def __init__(
        self, journal: Journal, shard: LiveShard, *, number: int, shards: int, encoder_digest: str, after: int
    ) -> None:
        self._journal = journal
        self._shard = shard
        self._number, self._shards = number, shards
        self._encoder_digest = encoder_digest
        self.sequence = after
        """The shard holds all entries up to this one."""

    def start(self) -> Iterator[int]:
        """Go through all that was written so far, of every product the last entry only.

        Yields the number of entries after every batch. Entries without a vector are left to `fetch` and `apply`,
        which wait for it.
        """
        head = self._journal.head()
        mine = (entry for entry in self._journal.latest(self.sequence, upto=head) if self._owns(entry))
        reached = head
        while batch := list(itertools.islice(mine, BATCH)):
            changes, held_up = self._changes(self._news(batch, upto=head))
            self._shard.apply(changes)
            yield len(batch)
            if held_up is not None:
                reached = held_up.sequence - 1
                break
        self.sequence = max(self.sequence, reached)

    def fetch(self) -> News | None:
        """What is new, None if nothing is; from any thread."""
        if self._journal.head() == self.sequence:
            return None
        entries = self._journal.read(self.sequence, limit=BATCH)
        if not entries:
            return None
        return self._news([entry for entry in entries if self._owns(entry)], upto=entries[-1].sequence)

    def apply(self, news: News) -> tuple[np.ndarray, list[Entry]]:
        """Apply what is new; on the shard's own thread.

        Returns:
            The shard's rows that changed, and the entries that were applied; those that wait for a vector were not.
        """
        changes, held_up = self._changes(news)
        changed = self._shard.apply(changes)
        self.sequence = news.upto if held_up is None else held_up.sequence - 1
        return changed, list(news.entries[: len(changes)])

    def _owns(self, entry: Entry) -> bool:
        return shard_of(entry.write.product_id, self._shards) == self._number

    def _news(self, entries: Sequence[Entry], *, upto: int) -> News:
        hashes = {image.content_hash for entry in entries for image in _images(entry)}
        return News(entries, self._journal.vectors(self._encoder_digest, hashes), upto)

    def _changes(self, news: News) -> tuple[list[Change], Entry | None]:
        """What the entries mean to the shard, and the first of them that has to wait."""
        changes: list[Change] = []
        for entry in news.entries:
            change = self._change(entry, news.vectors)
            if change is None:
                return changes, entry
            changes.append(change)
        return changes, None

    def _change(self, entry: Entry, vectors: Mapping[str, np.ndarray]) -> Change | None:
        write = entry.write
        if not isinstance(write, Upsert):
            return Remove(product_id=write.product_id)
        found = [self._vector(image.content_hash, vectors) for image in write.images]
        known = [vector_D for vector_D in found if vector_D is not None]
        if len(known) < len(found):
            return None
        own = {**held_attributes(write.attributes, self._shard.schema), "category": write.category}
        rows = [
            {**own, "product_id": write.product_id, "image_id": image.image_id, "content_hash": image.content_hash}
            for image in write.images
        ]
        return Replace(product_id=write.product_id, rows=rows, vector_ND=np.stack(known))

    def _vector(self, content_hash: str, vectors: Mapping[str, np.ndarray]) -> np.ndarray | None:
        known = vectors.get(content_hash)
        return known if known is not None else self._shard.vector_of_content(content_hash)


def _images(entry: Entry) -> Sequence[JournalImage]:
    return entry.write.images if isinstance(entry.write, Upsert) else ()
