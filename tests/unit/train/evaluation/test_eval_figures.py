"""One encoder's figures over random vectors, against plain loops; and the triplets, each as it should be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.metrics import cmc
from visnet.platform.pictures import Source
from visnet.platform.store import Store
from visnet.train.evaluation import figures, protocol, report_choice
from visnet.train.evaluation.figures import find_truth, measure
from visnet.train.evaluation.gallery import Gallery
from visnet.train.evaluation.query_sets import QuerySet
from visnet.train.evaluation.report_choice import hits_of, worst_misses
from visnet.train.evaluation.triplet_sample import NEGATIVES

PICTURES, PRODUCTS, CATEGORIES, QUERIES, DIMENSION = 80, 30, 3, 50, 5
KS = (1, 5, 20)


def unit(random: np.random.Generator, count: int) -> np.ndarray:
    vector_ND = random.normal(size=(count, DIMENSION)).astype(np.float32)
    return vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    random = np.random.default_rng(0)
    names = {
        "image_id": [f"i{number:02d}" for number in range(PICTURES)],
        "product_id": [f"p{number}" for number in random.integers(0, PRODUCTS, PICTURES)],
        "category": [f"c{number}" for number in np.sort(random.integers(0, CATEGORIES, PICTURES))],
        "content_hash": [f"h{number}" for number in range(PICTURES)],
    }
    rows = pa.table(names)
    source = Source(Store(str(tmp_path)), [])
    return Gallery(source, rows, {"random": unit(random, PICTURES)}, rows, np.arange(PICTURES), [])


def query_set(gallery: Gallery, kind: str) -> QuerySet:
    """Photos of products that mostly exist, or gallery pictures left out of their own search."""
    random = np.random.default_rng(1)
    if kind == "images":
        row_Q = np.flatnonzero([list(gallery.products).count(product) > 1 for product in gallery.products])
        vectors, products, categories = (
            gallery.vectors["random"][row_Q],
            gallery.products[row_Q],
            gallery.categories[row_Q],
        )
    else:
        row_Q, vectors = None, unit(random, QUERIES)
        products = np.array([f"p{number}" for number in random.integers(0, PRODUCTS + 3, QUERIES)], dtype=object)
        categories = np.array([f"c{number}" for number in random.integers(0, CATEGORIES + 1, QUERIES)], dtype=object)
    return QuerySet(
        vectors={"random": vectors},
        products=products,
        categories=categories,
        names=[""] * len(products),
        boxes=[None] * len(products),
        row_Q=row_Q,
        leave_out=kind == "images",
        pictures=lambda numbers: [],
        found=0,
        chosen=0,
    )


def own_of(queries: QuerySet, query: int) -> int:
    return -1 if queries.row_Q is None else int(queries.row_Q[query])


def slow_map_at_r(gallery: Gallery, queries: QuerySet) -> float:
    values = []
    for query, vector in enumerate(queries.vectors["random"]):
        others = [row for row in range(PICTURES) if row != own_of(queries, query)]
        relevant = [row for row in others if gallery.products[row] == queries.products[query]]
        if relevant:
            ordered = sorted(others, key=lambda row: -float(gallery.vectors["random"][row] @ vector))
            hits = [row in relevant for row in ordered[: len(relevant)]]
            values.append(sum(sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit) / len(relevant))
    return float(np.mean(values))


def slow_category_precision(gallery: Gallery, rows: list[int]) -> float:
    vectors, shares = gallery.vectors["random"], []
    for row in rows:
        nearest: dict[str, int] = {}
        for other in sorted(range(PICTURES), key=lambda other: -float(vectors[other] @ vectors[row])):
            if gallery.products[other] != gallery.products[row]:
                nearest.setdefault(gallery.products[other], other)
        labels = [gallery.categories[other] == gallery.categories[row] for other in list(nearest.values())[:20]]
        shares.append(np.mean(labels))
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", ["photos", "images"])
@pytest.mark.parametrize("batch", [7, 1_000])
def test_figures_equal_plain_loops(gallery: Gallery, kind: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (figures, protocol):
        monkeypatch.setattr(module, "BATCH", batch)
    queries = query_set(gallery, kind)
    truth = find_truth(gallery, queries, seed=0)
    measured = measure("random", gallery, queries, truth, KS, device="cpu")
    assert measured.figures.map_at_r == pytest.approx(slow_map_at_r(gallery, queries), abs=1e-4)
    rows = list(range(PICTURES)) if queries.row_Q is None else queries.row_Q.tolist()
    expected = slow_category_precision(gallery, rows)
    assert measured.figures.category_precision_at_20 == pytest.approx(expected, abs=1e-4)
    for reach, answers, relevant_Q in (
        (measured.figures.whole_gallery, measured.whole, truth.relevant_Q),
        (measured.figures.within_category, measured.within, truth.relevant_within_Q),
    ):
        assert reach is not None
        assert reach.unanswerable == (relevant_Q == 0).sum()
        assert reach.recall_at_k == {str(k): round(reach.cmc[k - 1], 4) for k in KS}
        answerable = cmc(answers.rank_Q[relevant_Q > 0], 20)
        assert reach.recall_at_k_answerable == {str(k): pytest.approx(answerable[k - 1], abs=1e-4) for k in KS}
    assert measured.figures.recall_at_k == measured.figures.whole_gallery.recall_at_k  # type: ignore[union-attr]
    for name, of in measured.figures.categories.items():
        of_it_Q = queries.categories == name
        assert (of.queries, of.unanswerable) == (of_it_Q.sum(), (truth.relevant_within_Q[of_it_Q] == 0).sum())
        assert of.within_category["5"] == round(cmc(measured.within.rank_Q[of_it_Q], 5)[-1], 4)
        assert of.whole_gallery["5"] == round(cmc(measured.whole.rank_Q[of_it_Q], 5)[-1], 4)
    assert set(measured.figures.categories) == set(queries.categories)


@pytest.mark.parametrize("kind", ["photos", "images"])
def test_what_there_is_to_find_is_counted(gallery: Gallery, kind: str) -> None:
    queries = query_set(gallery, kind)
    truth = find_truth(gallery, queries, seed=0)
    for query in range(len(queries)):
        rows = [
            row
            for row in range(PICTURES)
            if gallery.products[row] == queries.products[query] and row != own_of(queries, query)
        ]
        assert truth.relevant_Q[query] == len(rows)
        within = [row for row in rows if gallery.categories[row] == queries.categories[query]]
        assert truth.relevant_within_Q[query] == len(within)


@pytest.mark.parametrize("kind", ["photos", "images"])
def test_triplets_are_what_they_say(gallery: Gallery, kind: str) -> None:
    queries = query_set(gallery, kind)
    truth = find_truth(gallery, queries, seed=3)
    for sample, in_class in ((truth.in_class, True), (truth.out_of_class, False)):
        triplets = list(zip(sample.query_T, sample.positive_T, sample.negative_T, strict=True))
        assert len(triplets) > len(queries) * NEGATIVES / 4
        for query, positive, negative in triplets:
            assert gallery.products[positive] == queries.products[query] != gallery.products[negative]
            assert positive != own_of(queries, query)
            assert (gallery.categories[negative] == queries.categories[query]) == in_class
        assert set(gallery.categories[sample.negative_T]) == {f"c{number}" for number in range(CATEGORIES)}
    again = find_truth(gallery, queries, seed=3)
    np.testing.assert_array_equal(again.in_class.negative_T, truth.in_class.negative_T)


def test_triplet_accuracy_is_of_inner_products(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "TRIPLETS_AT_ONCE", 13)
    queries = query_set(gallery, "photos")
    truth = find_truth(gallery, queries, seed=0)
    measured = measure("random", gallery, queries, truth, KS, device="cpu").figures
    vectors, sample = gallery.vectors["random"], truth.out_of_class
    right = [
        float(queries.vectors["random"][query] @ vectors[positive])
        > float(queries.vectors["random"][query] @ vectors[negative])
        for query, positive, negative in zip(sample.query_T, sample.positive_T, sample.negative_T, strict=True)
    ]
    assert measured.triplet_accuracy_out_of_class == pytest.approx(np.mean(right), abs=1e-4)


def test_nothing_to_find_at_all(gallery: Gallery) -> None:
    queries = query_set(gallery, "photos")
    queries.products[:] = "unknown"
    measured = measure("random", gallery, queries, find_truth(gallery, queries, seed=0), KS, device="cpu").figures
    assert measured.recall_at_k == {"1": 0.0, "5": 0.0, "20": 0.0}
    assert measured.whole_gallery is not None
    assert (measured.whole_gallery.unanswerable, measured.whole_gallery.recall_at_k_answerable) == (QUERIES, {})
    assert (measured.map_at_r, measured.triplet_accuracy_in_class) == (None, None)


def test_a_query_that_a_twin_pushed_out_of_its_own_results_loses_the_last() -> None:
    row_QK = np.array([[5, 1, 2], [1, 6, 2], [1, 2, 3]])
    assert figures._dropped(row_QK, np.array([5, 6, 7])).tolist() == [[1, 2], [1, 2], [1, 2]]


@pytest.mark.parametrize("kind", ["photos", "images"])
def test_the_worst_misses_and_the_hits(gallery: Gallery, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "CMC_DEPTH", 3)
    monkeypatch.setattr(report_choice, "DEEPEST", 20)
    monkeypatch.setattr(report_choice, "EACH", 15)
    queries = query_set(gallery, kind)
    truth = find_truth(gallery, queries, seed=0)
    measured = measure("random", gallery, queries, truth, (1, 3), device="cpu")
    own_row_Q = queries.row_Q if queries.leave_out else None
    rank_Q = measured.bench.ask(measured.query_QD, queries.products, 99, own_row_Q=own_row_Q).rank_Q
    misses, depth = worst_misses(measured, queries, truth, seed=0)
    assert depth == 20
    places = [one.rank or depth + 1 for one in misses]
    assert places == sorted(places, reverse=True)
    assert places[0] == depth + 1
    assert len({queries.products[one.query] for one in misses}) == len(misses) == 15
    for one in misses:
        assert truth.relevant_Q[one.query] > 0
        assert min(rank_Q[one.query], depth + 1) == (one.rank or depth + 1)
        assert gallery.products[one.truth] == queries.products[one.query]
        assert one.truth != own_of(queries, one.query)
    hits = hits_of(measured, queries, seed=0)
    assert all(one.rank == 1 and gallery.products[one.rows[0]] == queries.products[one.query] for one in hits)
