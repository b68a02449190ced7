"""The evaluation as one page that needs nothing but itself: no network, no other file, no script.

Pictures are data URIs of at most 160 pixels and at most two dozen queries are shown, so the page stays below some
three megabytes whatever the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from visnet.platform.evaluation import EvaluationManifest, Reach
from visnet.train.evaluation.report_curves import curves, legend
from visnet.train.evaluation.report_examples import Shown, page_row
from visnet.train.evaluation.report_style import STYLE
from visnet.train.evaluation.report_tables import (
    categories_table,
    differences_table,
    encoders_table,
    facts_table,
    means_table,
    share,
)

PROTOCOL = (
    "A query is a hit at k if the product it shows is among the first k distinct products. Within category: only the "
    "shop pictures of the query's category are searched (the Street2Shop protocol); whole gallery: all of them. "
    "A query whose product has no usable picture there counts as a miss."
)
METRICS = (
    "MAP@R is taken on pictures, before they are collapsed to products. Triplets: share of (query, picture of its "
    "product, picture of another) whose right picture is nearer. Category precision: share of the 20 nearest other "
    "products of a gallery picture that are of its category."
)
DIFFERENCES = (
    "Recall of {name} minus the other's on the same queries, with the 95% interval of a paired bootstrap over the "
    "queries. Coloured where the interval leaves zero out."
)
WORST = (
    "Queries whose product is in the gallery and stands lowest among the results of the whole gallery, one for each "
    "product where there are enough."
)


def report(manifest: EvaluationManifest, *, hits: Sequence[Shown], misses: Sequence[Shown], depth: int) -> str:
    """The page.

    Args:
        hits: queries found at rank 1.
        misses: queries not found at rank 1, worst first.
        depth: how far down the missed products were looked for.
    """
    title = f"{manifest.encoder} on {manifest.catalog}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{manifest.queries:,} {escape(manifest.queries_kind)}; gallery of {manifest.gallery:,} '
        f"pictures · {manifest.created_at[:10]} · commit {escape(manifest.commit)}</p>",
        _tiles(manifest),
        f'<p class="note">{PROTOCOL}</p>',
        f"<h2>Encoders compared</h2>{encoders_table(manifest)}",
        f'<p class="note">{METRICS}</p>',
        _differences(manifest),
        f"<h2>Recall by depth</h2>{_charts(manifest)}",
        f"<h2>By category</h2>{categories_table(manifest)}",
        f"<h2>Means</h2>{means_table(manifest.figures, manifest.encoder)}",
        f"<h2>Queries and gallery, counted</h2>{_counts(manifest)}",
        _examples("Worst misses", WORST, misses, depth),
        _examples("Hits", "Queries whose product is the first result, chosen by seed.", hits, depth),
        f"<h2>How it was made</h2>{_origin(manifest)}<pre>{escape(manifest.command)}</pre>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _tiles(manifest: EvaluationManifest) -> str:
    figures = manifest.figures
    tiles = [(f"recall@{k}, whole gallery", share(figures.recall_at_k[k])) for k in _ends(figures.recall_at_k)]
    if (within := figures.within_category) is not None:
        tiles += [(f"recall@{k}, within category", share(within.recall_at_k[k])) for k in _ends(within.recall_at_k)]
    if (whole := figures.whole_gallery) is not None:
        tiles.append(("queries without an answer", f"{whole.unanswerable:,}"))
    if (counts := manifest.counts) is not None:
        tiles.append(("unusable: queries, gallery", f"{counts.queries_unusable:,}, {counts.gallery_unusable:,}"))
    shown = (f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in tiles)
    return f'<div class="tiles">{"".join(shown)}</div>'


def _ends(recalls: dict[str, float]) -> list[str]:
    """The least and the largest k."""
    ks = sorted(recalls, key=int)
    return list(dict.fromkeys([ks[0], ks[-1]]))


def _differences(manifest: EvaluationManifest) -> str:
    if not manifest.differences:
        return ""
    note = DIFFERENCES.format(name=escape(manifest.encoder))
    return f'<h2>Differences</h2>{differences_table(manifest)}<p class="note">{note}</p>'


def _charts(manifest: EvaluationManifest) -> str:
    named = {manifest.encoder: manifest.figures, **manifest.baselines}

    def chart(title: str, reach_of: Callable[[str], Reach | None]) -> str:
        lines = {name: reach.cmc for name in named if (reach := reach_of(name)) is not None}
        return f"<div><h3>{title}</h3>{curves(lines, title=title)}</div>" if lines else ""

    within = chart("recall@k, within category", lambda name: named[name].within_category)
    whole = chart("recall@k, whole gallery", lambda name: named[name].whole_gallery)
    return f'{legend(list(named))}<div class="charts">{within}{whole}</div>'


def _counts(manifest: EvaluationManifest) -> str:
    counts = manifest.counts
    if counts is None:
        return ""
    facts = [
        ("queries there were", f"{counts.queries_found:,}"),
        ("queries chosen", f"{counts.queries_chosen:,}"),
        ("of these missing or undecodable, in no recall", f"{counts.queries_unusable:,}"),
        ("queries asked", f"{manifest.queries:,}"),
        ("photos without a box, used whole", f"{counts.queries_without_box:,}"),
        ("queries of a category without gallery pictures", f"{counts.queries_without_category:,}"),
        ("usable gallery pictures", f"{manifest.gallery:,}"),
        ("gallery pictures missing or undecodable", f"{counts.gallery_unusable:,}"),
        ("products that can be found", f"{counts.products:,}"),
        ("products without one usable picture", f"{counts.products_unusable:,}"),
    ]
    if counts.unusable_examples:
        facts.append(("the first unusable ones", "<br>".join(escape(text) for text in counts.unusable_examples)))
    return facts_table(facts)


def _origin(manifest: EvaluationManifest) -> str:
    facts = [
        (
            name,
            f"{escape(subject.weights)}; {subject.dimension:,} dimensions, pictures of {subject.image_size} pixels, "
            f"digest {subject.digest[:12]}",
        )
        for name, subject in manifest.subjects.items()
    ]
    settings = ", ".join(f"{name} {value}" for name, value in manifest.settings.items())
    facts += [
        ("catalogue", escape(manifest.catalog)),
        ("gallery filter", escape(", ".join(manifest.filters)) or "none"),
        ("queries digest", manifest.queries_digest),
        ("settings", escape(settings)),
        ("took", f"{manifest.seconds:.0f} s"),
    ]
    return facts_table(facts)


def _examples(title: str, note: str, shown: Sequence[Shown], depth: int) -> str:
    if not shown:
        return f'<h2>{title}</h2><p class="note">None.</p>'
    rows = "".join(page_row(one, depth=depth) for one in shown)
    return f'<h2>{title}</h2><p class="note">{note}</p>{rows}'
