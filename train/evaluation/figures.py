"""From vectors to figures: one encoder's recalls, precisions and triplets over the queries of an evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visnet.platform.evaluation import CategoryFigures, Figures, Reach
from visnet.platform.metrics import cmc, map_at_r, precision_at_k, triplet_accuracy
from visnet.train.evaluation.gallery import Gallery
from visnet.train.evaluation.protocol import BATCH, Answers, Bench
from visnet.train.evaluation.query_sets import QuerySet
from visnet.train.evaluation.triplet_sample import TripletSample

# Q queries, N gallery pictures, D embedding, K results, T triplets

CMC_DEPTH = 50
PRECISION_K = 20
PRECISION_QUERIES = 2_000
TRIPLETS_AT_ONCE = 8_192
DIGITS = 4


@dataclass(frozen=True)
class Measured:
    """One encoder's figures, and the answers that they come from."""

    query_QD: np.ndarray
    bench: Bench
    figures: Figures
    whole: Answers
    within: Answers


@dataclass(frozen=True)
class Truth:
    """What can be known of the queries before any encoder is asked; the same for all of them."""

    relevant_Q: np.ndarray
    """Usable gallery pictures of the query's product, without the query itself."""
    relevant_within_Q: np.ndarray
    """Those of them in the query's category."""
    in_class: TripletSample
    out_of_class: TripletSample


def find_truth(gallery: Gallery, queries: QuerySet, *, seed: int) -> Truth:
    """Count what there is to find, and draw the triplets."""
    anywhere = Counter(gallery.products)
    within = Counter(zip(gallery.products, gallery.categories, strict=True))
    own = int(queries.leave_out)  # then every query is one of the pictures counted
    return Truth(
        relevant_Q=np.array([anywhere[product] - own for product in queries.products]),
        relevant_within_Q=np.array(
            [within[pair] - own for pair in zip(queries.products, queries.categories, strict=True)]
        ),
        in_class=TripletSample.draw(gallery, queries, seed=seed, in_class=True),
        out_of_class=TripletSample.draw(gallery, queries, seed=seed, in_class=False),
    )


def measure(
    name: str, gallery: Gallery, queries: QuerySet, truth: Truth, ks: Sequence[int], *, device: str
) -> Measured:
    """The figures of the encoder called `name`."""
    query_QD = queries.vectors[name]
    bench = Bench(gallery.vectors[name], gallery.rows, device=device)
    own_row_Q = queries.row_Q if queries.leave_out else None
    depth = max(*ks, CMC_DEPTH)
    whole = bench.ask(query_QD, queries.products, depth, own_row_Q=own_row_Q)
    within = bench.ask_by_category(query_QD, queries.products, queries.categories, depth, own_row_Q=own_row_Q)
    reach = _reach(whole, truth.relevant_Q > 0, queries, ks)
    figures = Figures(
        recall_at_k=reach.recall_at_k,
        category_precision_at_20=_category_precision(bench, queries),
        whole_gallery=reach,
        within_category=_reach(within, truth.relevant_within_Q > 0, queries, ks),
        map_at_r=_map_at_r(bench, query_QD, queries, truth.relevant_Q),
        triplet_accuracy_in_class=_triplets(bench, query_QD, truth.in_class),
        triplet_accuracy_out_of_class=_triplets(bench, query_QD, truth.out_of_class),
        categories=_categories(gallery, queries, truth, whole, within, ks),
    )
    return Measured(query_QD, bench, figures, whole, within)


def _reach(answers: Answers, answerable_Q: np.ndarray, queries: QuerySet, ks: Sequence[int]) -> Reach:
    by_category = [_recalls(answers.rank_Q[queries.categories == name], ks) for name in sorted(set(queries.categories))]
    return Reach(
        recall_at_k=_recalls(answers.rank_Q, ks),
        recall_at_k_answerable=_recalls(answers.rank_Q[answerable_Q], ks) if answerable_Q.any() else {},
        macro_recall_at_k={
            str(k): round(float(np.mean([recalls[str(k)] for recalls in by_category])), DIGITS) for k in ks
        },
        unanswerable=int((~answerable_Q).sum()),
        cmc=cmc(answers.rank_Q, max(*ks, CMC_DEPTH)).round(DIGITS).tolist(),
    )


def _recalls(rank_Q: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    curve = cmc(rank_Q, max(ks))
    return {str(k): round(float(curve[k - 1]), DIGITS) for k in ks}


def _categories(
    gallery: Gallery, queries: QuerySet, truth: Truth, whole: Answers, within: Answers, ks: Sequence[int]
) -> dict[str, CategoryFigures]:
    figures = {}
    for name in sorted(set(queries.categories)):
        of_it_Q, of_it_N = queries.categories == name, gallery.categories == name
        figures[name] = CategoryFigures(
            queries=int(of_it_Q.sum()),
            gallery=int(of_it_N.sum()),
            products=len(set(gallery.products[of_it_N])),
            unanswerable=int((truth.relevant_within_Q[of_it_Q] == 0).sum()),
            within_category=_recalls(within.rank_Q[of_it_Q], ks),
            whole_gallery=_recalls(whole.rank_Q[of_it_Q], ks),
        )
    return figures


def _category_precision(bench: Bench, queries: QuerySet) -> float | None:
    """Over the pictures that the queries were made of, or an even choice of the gallery."""
    even = np.unique(np.linspace(0, len(bench) - 1, min(len(bench), PRECISION_QUERIES)).round().astype(np.int64))
    row_Q = even if queries.row_Q is None else queries.row_Q
    nearest = min(PRECISION_K, len(set(bench.product_N)) - 1)
    if not nearest:
        return None
    label_QK = []
    for start in range(0, len(row_Q), BATCH):
        part_Q = row_Q[start : start + BATCH]
        hits = bench.shard.search(bench.vector_ND[part_Q], nearest + 1, collapse_duplicates=False)
        for row_K, own in zip(hits.row_QK, part_Q, strict=True):
            others = row_K[bench.product_N[row_K] != bench.product_N[own]][:nearest]
            label_QK.append(bench.category_N[others])
    return round(precision_at_k(np.stack(label_QK), bench.category_N[row_Q], nearest), DIGITS)


def _map_at_r(bench: Bench, query_QD: np.ndarray, queries: QuerySet, relevant_Q: np.ndarray) -> float | None:
    """On pictures, before they are collapsed to products."""
    asked = np.flatnonzero(relevant_Q)
    total = 0.0
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        depth = int(relevant_Q[part].max()) + int(queries.leave_out)
        row_QK = bench.images.search(query_QD[part], depth, collapse_duplicates=False).row_QK
        if queries.leave_out and queries.row_Q is not None:
            row_QK = _dropped(row_QK, queries.row_Q[part])
        relevant_QK = bench.products_of(row_QK) == queries.products[part, None]
        total += map_at_r(relevant_QK, relevant_Q[part]) * len(part)
    return round(total / len(asked), DIGITS) if len(asked) else None


def _dropped(row_QK: np.ndarray, own_row_Q: np.ndarray) -> np.ndarray:
    """The results without each query's own picture, one column fewer; the last goes where it was not found."""
    own_QK = row_QK == own_row_Q[:, None]
    own_QK[~own_QK.any(axis=1), -1] = True
    return row_QK[~own_QK].reshape(len(row_QK), -1)


def _triplets(bench: Bench, query_QD: np.ndarray, sample: TripletSample) -> float | None:
    if not len(sample.query_T):
        return None
    scores = []
    for start in range(0, len(sample.query_T), TRIPLETS_AT_ONCE):
        part = slice(start, start + TRIPLETS_AT_ONCE)
        anchor_TD = query_QD[sample.query_T[part]]
        pairs = (bench.vector_ND[sample.positive_T[part]], bench.vector_ND[sample.negative_T[part]])
        scores.append([np.einsum("td,td->t", anchor_TD, other_TD) for other_TD in pairs])
    positive_T, negative_T = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    return round(triplet_accuracy(positive_T, negative_T, higher_is_better=True), DIGITS)
