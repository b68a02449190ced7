"""The pictures of a report: each query with the product it shows and its first results, as page rows and as a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from visnet.platform.contact_sheet import Row
from visnet.platform.errors import ImageError
from visnet.platform.pictures import Picture
from visnet.train.evaluation.gallery import Gallery
from visnet.train.evaluation.query_sets import QuerySet
from visnet.train.evaluation.report_choice import Example
from visnet.train.evaluation.thumbnails import blank, data_uri, thumbnail_or_blank

CAPTION = 18
"""Letters of a caption that fit under a picture of the contact sheet."""


@dataclass(frozen=True)
class Result:
    """One picture of the gallery that was found."""

    picture: bytes
    product: str
    category: str
    score: float
    right: bool


@dataclass(frozen=True)
class Shown:
    """One query, with all that is shown of it as small JPEGs."""

    name: str
    product: str
    category: str
    query: bytes
    photo: bytes | None
    """The whole photo with its box drawn, if the query is a part of it."""
    truth: bytes | None
    rank: int | None
    results: list[Result]


def load(examples: Sequence[Example], queries: QuerySet, gallery: Gallery) -> list[Shown]:
    """Read the pictures of some examples again and make them small."""
    pictures = gallery.pictures(
        [row for one in examples for row in [*one.rows, *([] if one.truth is None else [one.truth])]]
    )
    small = {row: thumbnail_or_blank(_data(picture)) for row, picture in pictures.items()}
    photos = queries.pictures([one.query for one in examples])
    return [_shown(one, photo, queries, gallery, small) for one, photo in zip(examples, photos, strict=True)]


def _shown(one: Example, photo: Picture, queries: QuerySet, gallery: Gallery, small: dict[int, bytes]) -> Shown:
    data, box = _data(photo), queries.boxes[one.query]
    product = queries.products[one.query]
    return Shown(
        name=queries.names[one.query],
        product=product,
        category=queries.categories[one.query],
        query=thumbnail_or_blank(data, box=box),
        photo=thumbnail_or_blank(data, frame=box) if box else None,
        truth=None if one.truth is None else small[one.truth],
        rank=one.rank,
        results=[
            Result(small[row], gallery.products[row], gallery.categories[row], score, gallery.products[row] == product)
            for row, score in zip(one.rows, one.scores, strict=True)
        ],
    )


def _data(picture: Picture) -> bytes:
    """The picture's bytes; none where they are gone since it was embedded, which shows as a grey square."""
    try:
        return picture.data()
    except ImageError:
        return b""


def page_row(shown: Shown, *, depth: int) -> str:
    """One query as a row of the page."""
    place = f"rank {shown.rank:,}" if shown.rank else f"rank > {depth:,}"
    figures = [_figure(shown.query, "query", shown.name.rsplit("/", 1)[-1])]
    if shown.photo is not None:
        figures.append(_figure(shown.photo, "whole photo", "with its box"))
    figures.append(_figure(shown.truth or blank(), place, f"of {shown.product}"))
    for number, result in enumerate(shown.results):
        kind = ("results " if number == 0 else "") + ("right" if result.right else "")
        text = f"{result.category} · {result.score:.2f}"
        figures.append(_figure(result.picture, f"{number + 1}. {result.product}", text, kind=kind))
    return f'<div class="row">{"".join(figures)}</div>'


def sheet_row(shown: Shown) -> Row:
    """One query as a row of the contact sheet."""
    results = [
        (result.picture, f"{place}. {result.category}"[:CAPTION], result.right)
        for place, result in enumerate(shown.results, start=1)
    ]
    return Row(query=shown.query, expected=shown.truth or b"", results=results, rank=shown.rank)


def _figure(picture: bytes, head: str, text: str, *, kind: str = "") -> str:
    return (
        f'<figure class="{kind.strip()}"><img src="{data_uri(picture)}" alt="" loading="lazy">'
        f"<figcaption><b>{escape(head)}</b>{escape(text)}</figcaption></figure>"
    )
