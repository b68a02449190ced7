"""A detector's evaluation as one page that needs nothing but itself, and as a sheet: what it found, drawn."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape

from PIL import Image, ImageDraw, ImageFont

from visnet.platform.contact_sheet import GAP, HEADER, INK, PAPER
from visnet.platform.drawn_boxes import COLORS, Drawn, draw_boxes
from visnet.platform.localisation import DECIDING_K, WAYS, Asked, LocalisationManifest
from visnet.train.detection.asking import Looked
from visnet.train.evaluation.report_style import STYLE
from visnet.train.evaluation.thumbnails import data_uri

SIDE = 300
SHEET_COLUMNS, SHEET_ROWS = 6, 2
"""Pictures of each kind on the sheet."""
FURTHER_STYLE = """
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 16px; }
.photos figure { max-width: none; } .photos figure img { aspect-ratio: auto; max-height: 300px; background: none; }
"""
LEGEND = (
    "White: where the products are, if that is known. Coloured: what was found and is sure enough, with its confidence."
)


def report(manifest: LocalisationManifest, shown: Mapping[str, Sequence[Looked]]) -> str:
    """The page.

    Args:
        shown: pictures of each kind of queries, with what was found in them.
    """
    title = f"{manifest.detector} on {manifest.catalog}"
    verdict = "the items found" if manifest.helps else "the whole photo"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">searches by {escape(manifest.encoder)} in {manifest.gallery:,} pictures · '
        f"{manifest.created_at[:10]} · commit {escape(manifest.commit)}</p>",
        f"<p>A release with this detector searches for <b>{verdict}</b> by default.</p>",
        f"<h2>What it finds</h2>{_precision(manifest)}",
        '<p class="note">Average precision by pycocotools, one box and one category for each item, as the service '
        "shows them. Whatever the category: all items count as one class.</p>",
        *[f"<h2>Searches: {escape(asked.about)}</h2>{_asked(asked)}" for asked in manifest.asked.values()],
        '<p class="note">'
        + " ".join(f"<b>{escape(way)}</b>: {escape(meaning)}." for way, meaning in WAYS.items())
        + " Intervals: 95%, paired bootstrap over the queries.</p>",
        *[_photos(name, looked) for name, looked in shown.items()],
        f"<h2>How it was made</h2><pre>{escape(manifest.command)}</pre>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{FURTHER_STYLE}</style></head>\n"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def sheet(manifest: LocalisationManifest, shown: Mapping[str, Sequence[Looked]]) -> bytes:
    """The first pictures of each kind as one PNG."""
    looked = [one for kind in shown.values() for one in kind[: SHEET_COLUMNS * SHEET_ROWS]]
    rows = -(-len(looked) // SHEET_COLUMNS)
    canvas = Image.new("RGB", (GAP + SHEET_COLUMNS * (SIDE + GAP), HEADER + rows * (SIDE + GAP)), PAPER)
    draw = ImageDraw.Draw(canvas)
    title = f"{manifest.detector} on {manifest.catalog}. {LEGEND}"
    draw.text((GAP, 12), title, fill=INK, font=ImageFont.load_default(16))
    for number, one in enumerate(looked):
        row, column = divmod(number, SHEET_COLUMNS)
        canvas.paste(_drawn(one), (GAP + column * (SIDE + GAP), HEADER + row * (SIDE + GAP)))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _precision(manifest: LocalisationManifest) -> str:
    head = ["", "pictures", "items", "AP50", "AP50:95", "AP50, whatever the category"]
    rows = [
        [
            escape(name),
            f"{figures['pictures']:,}",
            f"{figures['items']:,}",
            *(_share(figures[key]) for key in ("ap50", "ap50_95", "found_ap50")),
        ]
        for name, figures in manifest.precision.items()
    ]
    return _table(head, rows) if rows else '<p class="note">No boxes are known of these photos.</p>'


def _asked(asked: Asked) -> str:
    ks = list(next(iter(asked.ways.values())).recall_at_k)
    rows = []
    for way, reached in asked.ways.items():
        against = [reached.against_whole.get(k) for k in (ks[0], str(DECIDING_K))]
        beside = [f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" if one else "" for one in against]
        rows.append([escape(way), *(_share(reached.recall_at_k[k]) for k in ks), *beside])
    heads = ["recall", *(f"@{k}" for k in ks), f"@{ks[0]} against whole", f"@{DECIDING_K} against whole"]
    weights = [
        [f"weight {weight}", *(_share(one.recall_at_k[k]) for k in ks), f"{one.gained:,}", f"{one.lost:,}"]
        for weight, one in asked.weights.items()
    ]
    narrowing = ["likely categories brought forward", *(f"@{k}" for k in ks), f"gained @{DECIDING_K}", "lost"]
    located = ", ".join(f"{how}: {count:,}" for how, count in sorted(asked.located.items()))
    return (
        f'<p class="soft">{asked.queries:,} queries ({escape(located)})</p>'
        f"{_table(heads, rows)}<p></p>{_table(narrowing, weights)}"
    )


def _photos(name: str, looked: Sequence[Looked]) -> str:
    figures = "".join(f'<figure><img alt="" src="{data_uri(_jpeg(_drawn(one)))}"></figure>' for one in looked)
    return (
        f'<h2>{escape(name[:1].upper() + name[1:])}</h2><p class="note">{LEGEND}</p><div class="photos">{figures}</div>'
    )


def _drawn(one: Looked) -> Image.Image:
    truth = [Drawn(box=tuple(box)) for box in one.query.truth.box_N4.tolist()] if one.query.truth else []
    if not truth and one.query.box:
        truth = [Drawn(box=one.query.box)]
    found = [
        Drawn(
            box=item.box,
            text=f"{item.categories[0][0] if item.categories else ''} {item.confidence:.2f}".strip(),
            color=COLORS[number % len(COLORS)],
        )
        for number, item in enumerate(one.items)
    ]
    return draw_boxes(one.query.image, [*truth, *found], side=SIDE)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=85, optimize=True)
    return buffer.getvalue()
