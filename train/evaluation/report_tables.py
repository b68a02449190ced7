"""The report's tables, from a finished manifest alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from visnet.platform.evaluation import EvaluationManifest, Figures, Reach
from visnet.platform.metrics import Interval
from visnet.train.evaluation.report_curves import colour

DASH = "-"


def share(value: float | None) -> str:
    """A share 0..1 with three digits; a dash for none."""
    return DASH if value is None else f"{value:.3f}"


def encoders_table(manifest: EvaluationManifest) -> str:
    """All encoders on the same queries."""
    ks = [f"@{k}" for k in manifest.figures.recall_at_k]
    groups = [("", 1), ("within category", len(ks)), ("whole gallery", len(ks)), ("", 4)]
    heads = ["", *ks, *ks, "MAP@R", "triplets<br>in class", "triplets<br>out of class", "category<br>precision@20"]
    starts = {1, 1 + len(ks), 1 + 2 * len(ks)}
    rows = []
    for number, (name, figures) in enumerate({manifest.encoder: manifest.figures, **manifest.baselines}.items()):
        cells = [
            f'<i style="background:{colour(number)}"></i>{escape(name)}',
            *_recalls(figures.within_category, ks),
            *_recalls(figures.whole_gallery, ks),
            share(figures.map_at_r),
            share(figures.triplet_accuracy_in_class),
            share(figures.triplet_accuracy_out_of_class),
            share(figures.category_precision_at_20),
        ]
        rows.append(_row(cells, kind="" if number else "main", starts=starts))
    return _table([_groups(groups), _head(heads, starts)], rows)


def means_table(figures: Figures, name: str) -> str:
    """One encoder's recalls, by what is searched and by what the mean is taken over."""
    ks = list(figures.recall_at_k)
    rows = []
    for searched, reach in (("within category", figures.within_category), ("whole gallery", figures.whole_gallery)):
        if reach is None:
            continue
        means = {
            "all queries": reach.recall_at_k,
            f"answerable queries only ({reach.unanswerable:,} left out)": reach.recall_at_k_answerable,
            "mean of the categories": reach.macro_recall_at_k,
        }
        for mean, recalls in means.items():
            rows.append(_row([f"{searched}, {escape(mean)}", *(share(recalls.get(k)) for k in ks)]))
    return _table([_head([f"recall of {escape(name)}", *(f"@{k}" for k in ks)])], rows)


def differences_table(manifest: EvaluationManifest) -> str:
    """The encoder against each other one, with intervals."""
    ks = list(manifest.figures.recall_at_k)
    rows = [
        _row([f"against {escape(name)}", *(_interval(differences[k]) for k in ks)])
        for name, differences in manifest.differences.items()
    ]
    return _table([_head(["difference in recall, whole gallery", *(f"@{k}" for k in ks)])], rows)


def categories_table(manifest: EvaluationManifest) -> str:
    """The encoder's recalls by category, and their means."""
    ks = list(manifest.figures.recall_at_k)
    marks = [f"@{k}" for k in ks]
    starts = {1, 5, 5 + len(ks)}
    groups = [("", 5), ("within category", len(ks)), ("whole gallery", len(ks))]
    rows = [
        _row(
            [
                escape(name),
                f"{of.queries:,}",
                f"{of.unanswerable:,}" if of.unanswerable else DASH,
                f"{of.gallery:,}",
                f"{of.products:,}",
                *(share(of.within_category[k]) for k in ks),
                *(share(of.whole_gallery[k]) for k in ks),
            ],
            starts=starts,
        )
        for name, of in manifest.figures.categories.items()
    ]
    within, whole = manifest.figures.within_category, manifest.figures.whole_gallery
    if within is not None and whole is not None:
        totals = [f"{manifest.queries:,}", f"{within.unanswerable:,}" if within.unanswerable else DASH, "", ""]
        for label, others, one, other in (
            ("all queries", totals, within.recall_at_k, whole.recall_at_k),
            ("mean of the categories", [""] * 4, within.macro_recall_at_k, whole.macro_recall_at_k),
        ):
            recalls = [share(recalls[k]) for recalls in (one, other) for k in ks]
            rows.append(_row([label, *others, *recalls], kind="main mean", starts=starts))
    heads = ["category", "queries", "unanswerable", "pictures", "products", *marks, *marks]
    return _table([_groups(groups), _head(heads, starts)], rows)


def facts_table(facts: Iterable[tuple[str, str]]) -> str:
    """Names and values as text; the values may be HTML."""
    rows = (f'<tr><td>{escape(name)}</td><td class="text">{value}</td></tr>' for name, value in facts)
    return f'<div class="wide"><table class="facts">{"".join(rows)}</table></div>'


def _recalls(reach: Reach | None, ks: Sequence[str]) -> list[str]:
    return [share(reach.recall_at_k[k[1:]]) if reach else DASH for k in ks]


def _interval(value: Interval) -> str:
    """The difference and its interval; coloured where the interval leaves 0 out."""
    kind = "good" if value.low > 0 else "bad" if value.high < 0 else ""
    span = f'<span class="soft">[{value.low:+.3f}, {value.high:+.3f}]</span>'
    return f'<span class="{kind}">{value.difference:+.3f}</span> {span}'


def _groups(groups: Sequence[tuple[str, int]]) -> str:
    cells = (
        f'<th class="{"group start" if number else "group"}" colspan="{columns}">{name}</th>'
        for number, (name, columns) in enumerate(groups)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _head(cells: Sequence[str], starts: set[int] | None = None) -> str:
    return f"<tr>{_cells('th', cells, starts)}</tr>"


def _row(cells: Sequence[str], *, kind: str = "", starts: set[int] | None = None) -> str:
    return f'<tr class="{kind}">{_cells("td", cells, starts)}</tr>'


def _cells(tag: str, cells: Sequence[str], starts: set[int] | None) -> str:
    kinds = [' class="start"' if starts and number in starts else "" for number in range(len(cells))]
    return "".join(f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    return f'<div class="wide"><table><thead>{"".join(heads)}</thead><tbody>{"".join(rows)}</tbody></table></div>'
