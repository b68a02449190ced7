"""The files of a triplet table: a job writes the triplets of some blocks as one, the same bytes wherever it runs."""

from __future__ import annotations

import collections
import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.store import Store
from visnet.platform.triplets import SCHEMA
from visnet.train.examples import photo_source
from visnet.train.triplets.anchors import BlockDrawing, Context
from visnet.train.triplets.blocks import BLOCK_ROWS, Similarities
from visnet.train.triplets.sheet import samples

PHOTO_COLUMNS = ("image_id", "product_id", "category", "content_hash", "box")
COUNTED = {"stage": "stage", "scorer": "scorer", "kind": "negative_kind", "category": "category"}


@dataclass(frozen=True)
class Job:
    """Blocks that are worked on together."""

    number: int
    blocks: tuple[tuple[int, int], ...]
    """(category, block)."""
    pictures: int


@dataclass(frozen=True, kw_only=True)
class Made:
    """What came out of a job."""

    number: int
    """The job's."""
    pictures: int
    part: str | None
    """The file; None: no triplets."""
    rows: int
    photos: int
    """Street photos that have a positive."""
    counts: dict[str, dict[str, int]]
    skipped: dict[str, int]
    samples: pa.Table
    """Some rows, to look at."""


def plan_jobs(similarities: Similarities) -> list[Job]:
    """Every block in a job; small categories share one. Depends on the pictures alone, not on who will do them."""
    jobs: list[Job] = []
    waiting: list[tuple[int, int]] = []
    pictures = 0
    for category, count in enumerate(similarities.counts):
        for block in range(similarities.blocks(category)):
            waiting.append((category, block))
            pictures += min(BLOCK_ROWS, count - block * BLOCK_ROWS)
            if pictures >= BLOCK_ROWS:
                jobs.append(Job(len(jobs), tuple(waiting), pictures))
                waiting, pictures = [], 0
    return [*jobs, Job(len(jobs), tuple(waiting), pictures)] if waiting else jobs


@dataclass(frozen=True, kw_only=True)
class DrawJob:
    """Does a job: plain, and what a task on a cluster runs.

    Args:
        directory: of the triplets, in the store.
        photo_split: of the street photos; None for none.
    """

    store: Store
    directory: str
    catalog: Catalog
    context: Context
    photo_split: str | None

    def __call__(self, job: Job) -> Made:
        photos = self._photos(job)
        drawings = [self._drawing(category, block, photos) for category, block in job.blocks]
        table = pa.Table.from_pylist([row for drawing in drawings for row in drawing.rows], schema=SCHEMA)
        skipped: collections.Counter[str] = sum((d.skipped for d in drawings), collections.Counter())
        return Made(
            number=job.number,
            pictures=job.pictures,
            part=self._write(job, table),
            rows=len(table),
            photos=sum(drawing.photos for drawing in drawings),
            counts={name: _counts(table[column]) for name, column in COUNTED.items()},
            skipped=dict(skipped),
            samples=samples(table),
        )

    def _drawing(self, category: int, block: int, photos: pa.Table | None) -> BlockDrawing:
        drawing = BlockDrawing(self.context, category, block)
        drawing.draw_pictures()
        if photos is not None:
            mine = photos.filter(pc.equal(photos["category"], self.context.similarities.names[category]))
            drawing.draw_photos(mine.to_pylist())
        return drawing

    def _photos(self, job: Job) -> pa.Table | None:
        """The street photos of the job's categories."""
        if self.photo_split is None:
            return None
        photos = photo_source(self.catalog).rows(PHOTO_COLUMNS, [("split", pa.scalar(self.photo_split))])
        names = {self.context.similarities.names[category] for category, _ in job.blocks}
        return photos.filter(pc.is_in(photos["category"], pa.array(sorted(names))))

    def _write(self, job: Job, table: pa.Table) -> str | None:
        if not len(table):
            return None
        part = f"part-{job.number:05d}.parquet"
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        self.store.write(f"{self.directory}/{part}", buffer.getvalue())
        return part


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}
