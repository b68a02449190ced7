"""Contact sheets of triplets, one per scorer: does it find alike what its name says?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.catalog import Catalog
from visnet.platform.contact_sheet import Cell, grid_sheet
from visnet.platform.errors import ImageError
from visnet.platform.imaging import cut, decode, encode_png
from visnet.platform.partition import product_hash
from visnet.platform.pictures import Picture
from visnet.platform.triplets import IN_CLASS, OUT_OF_CLASS, STREET
from visnet.train.examples import photo_source, shop_source

ROWS = 10
HEADINGS = ("anchor", "its positive", "in-class negative", "its positive", "out-of-class neg.")
WHAT = {
    "deep": "shape and style, as a pretrained network sees them",
    "color": "the same colours in like amounts",
    "texture": "the same pattern: plain, striped, checked, dotted, printed",
    STREET: "a street photo, cut to its box, and a shop picture of its product",
}

Pair = tuple[dict[str, Any] | None, dict[str, Any] | None]
"""Of one anchor: a triplet with an in-class negative and one with an out-of-class negative."""


def samples(table: pa.Table) -> pa.Table:
    """Rows that show what a table is like: for each scorer two triplets, one of each kind, of up to `ROWS` anchors.

    Anchors with both kinds come first; the categories take turns, and within one the anchors' hashes decide.
    """
    rows = table.select(["scorer", "anchor_image_id", "category", "negative_kind"]).to_pylist()
    first: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for number, row in enumerate(rows):
        anchors = first.setdefault(row["scorer"], {}).setdefault(row["category"], {})
        anchors.setdefault(row["anchor_image_id"], {}).setdefault(row["negative_kind"], number)
    kept = [number for by_category in first.values() for number in _in_turns(by_category)]
    return table.take(pa.array(kept, pa.int64()))


def _in_turns(by_category: dict[str, dict[str, dict[str, int]]]) -> list[int]:
    """The rows of the anchors that are shown, in their order."""
    turns = []
    for category, anchors in by_category.items():
        ordered = sorted(anchors.items(), key=lambda anchor: (-len(anchor[1]), product_hash(anchor[0])))
        for turn, (_, kinds) in enumerate(ordered[:ROWS]):
            turns.append((-len(kinds), turn, product_hash(category), list(kinds.values())))
    return [row for *_, rows in sorted(turns)[:ROWS] for row in rows]


def sheets(catalog: Catalog, sampled: pa.Table, ranges: dict[str, str]) -> dict[str, bytes]:
    """A PNG for each scorer in the sampled rows.

    Args:
        ranges: a line on the ranks, by scorer.
    """
    sampled = samples(sampled)
    made = {}
    for scorer in sampled["scorer"].unique().to_pylist():
        rows = sampled.filter(pc.equal(sampled["scorer"], scorer)).to_pylist()
        pictures = _pictures(catalog, rows)
        cells = [_cells(pair, pictures) for pair in _pairs(rows)]
        notes = [
            f"anchor and positive: {WHAT[scorer]}",
            ranges[scorer],
            "rank 0: a picture of the anchor's own product",
        ]
        title = f"{catalog.manifest.name}: triplets by the scorer {scorer}"
        made[scorer] = grid_sheet(cells, title=title, notes=notes, headings=HEADINGS)
    return made


def _pairs(rows: list[dict[str, Any]]) -> list[Pair]:
    """The rows by anchor, in their order."""
    by_anchor: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        by_anchor.setdefault(row["anchor_image_id"], {})[row["negative_kind"]] = row
    return [(kinds.get(IN_CLASS), kinds.get(OUT_OF_CLASS)) for kinds in by_anchor.values()]


def _cells(pair: Pair, pictures: dict[str, bytes]) -> list[Cell | None]:
    one = pair[0] or pair[1]
    assert one is not None
    cells: list[Cell | None] = [Cell(picture=pictures[_key(one, "anchor")], caption=one["category"])]
    for row in pair:
        if row is None:
            cells += [None, None]
            continue
        rank = row["negative_rank"]
        caption = row["negative_category"] if rank is None else f"rank {rank}"
        cells.append(Cell(picture=pictures[_key(row, "positive")], caption=f"rank {row['positive_rank']}", right=True))
        cells.append(Cell(picture=pictures[_key(row, "negative")], caption=caption, right=False))
    return cells


def _key(row: dict[str, Any], side: str) -> str:
    where = "photo" if side == "anchor" and row["anchor_is_photo"] else "shop"
    return f"{where}/{row[f'{side}_part']}/{row[f'{side}_row']}"


def _pictures(catalog: Catalog, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """The encoded pictures by key; those of photos cut to their boxes, and empty where they can't be had."""
    found: dict[str, bytes] = {}
    for where, source in (("shop", shop_source(catalog)), ("photo", photo_source(catalog))):
        wanted = {
            _key(row, side): (row[f"{side}_part"], row[f"{side}_row"], row["anchor_box"] if where == "photo" else None)
            for row in rows
            for side in ("anchor", "positive", "negative")
            if _key(row, side).startswith(where)
        }
        places = pa.table({"part": [part for part, _, _ in wanted.values()], "row": [r for _, r, _ in wanted.values()]})
        pictures = source.pictures(places) if wanted else []
        for (key, (_, _, box)), picture in zip(wanted.items(), pictures, strict=True):
            found[key] = _bytes(picture, box)
    return found


def _bytes(picture: Picture, box: list[float] | None) -> bytes:
    try:
        data = picture.data()
        return encode_png(np.asarray(cut(decode(data), (box[0], box[1], box[2], box[3])))) if box else data
    except ImageError:
        return b""
