"""Narrowing by likely categories is exact: as if every product of the catalogue were ranked by score and category."""

from typing import NamedTuple

import numpy as np
import pytest

from visnet.platform.narrowing import LEAST_SHARE, MOST_CATEGORIES, likely, narrowed


class Hit(NamedTuple):
    score: float
    product_id: str


class Shop(NamedTuple):
    """A made catalogue as one query sees it, and what a detector says of the query."""

    hits: dict[str, list[Hit]]
    """By category, best first; no two scores are equal."""
    shares: dict[str, float]

    def everywhere(self, k: int) -> list[Hit]:
        return sorted((hit for hits in self.hits.values() for hit in hits), reverse=True)[:k]

    def within(self, k: int) -> list[tuple[float, list[Hit]]]:
        return [(share, self.hits[name][:k]) for name, share in self.shares.items()]

    def oracle(self, weight: float, k: int) -> list[str]:
        """Every product by its score and its category's share."""
        ranked = [
            (hit.score + weight * self.shares.get(name, 0.0), hit.product_id)
            for name, hits in self.hits.items()
            for hit in hits
        ]
        return [product for _, product in sorted(ranked, reverse=True)[:k]]


def shop(seed: int) -> Shop:
    random = np.random.default_rng(seed)
    names = [f"c{number}" for number in range(random.integers(1, 6))]
    hits: dict[str, list[Hit]] = {name: [] for name in names}
    for number, score in enumerate(random.random(random.integers(1, 40)).tolist()):
        hits[names[random.integers(len(names))]].append(Hit(score, f"p{number}"))
    asked = random.permutation(names)[: random.integers(0, MOST_CATEGORIES + 1)].tolist()
    share_C = random.dirichlet(np.ones(max(1, len(asked)))).tolist()
    ordered = {name: sorted(found, reverse=True) for name, found in hits.items()}
    return Shop(ordered, dict(zip(asked, share_C, strict=False)))


def products(hits: list[Hit]) -> list[str]:
    return [hit.product_id for hit in hits]


@pytest.mark.parametrize("k", [1, 3, 10, 50])
@pytest.mark.parametrize("weight", [0.0, 0.02, 0.3, 2.0])
def test_it_is_the_ranking_of_the_whole_catalogue(weight: float, k: int) -> None:
    moved = 0
    for seed in range(150):
        made = shop(seed)
        found = products(narrowed(made.everywhere(k), made.within(k), weight=weight, k=k))
        assert found == made.oracle(weight, k)
        moved += found != products(made.everywhere(k))
    if weight == 0:
        assert moved == 0
    elif weight >= 0.3:
        assert moved > 10, "the case was not tried"


@pytest.mark.parametrize("weight", [0.05, 0.3])
def test_a_wrong_category_takes_no_more_than_the_weight(weight: float) -> None:
    """Whoever is better than all of the wrong category by the weight keeps its place."""
    kept = 0
    for seed in range(100):
        made = shop(seed)._replace(shares={"c0": 1.0})
        found = products(narrowed(made.everywhere(10), made.within(10), weight=weight, k=10))
        best_of_it = max((hit.score for hit in made.hits["c0"]), default=0.0)
        for place, hit in enumerate(made.everywhere(10)):
            if hit.score > best_of_it + weight:
                assert found[place] == hit.product_id
                kept += 1
    assert kept > 20, "the case was not tried"


def test_a_right_category_lifts_its_products_over_look_alikes() -> None:
    bag, shoe, boot = Hit(0.9, "bag"), Hit(0.8, "shoe"), Hit(0.7, "boot")
    within = [(0.9, [shoe, boot]), (0.1, [bag])]
    assert narrowed([bag, shoe, boot], within, weight=0.1, k=3) == [bag, shoe, boot]  # 0.91, 0.89, 0.79
    assert narrowed([bag, shoe, boot], within, weight=0.2, k=3) == [shoe, bag, boot]  # 0.98, 0.92, 0.88
    assert narrowed([bag], within, weight=0.5, k=2) == [shoe, boot]  # 1.25, 1.15, 0.95


def test_a_product_in_several_likely_categories_counts_once_at_its_best() -> None:
    seen = narrowed([Hit(0.5, "a"), Hit(0.45, "b")], [(0.2, [Hit(0.5, "a")]), (0.8, [Hit(0.4, "a")])], weight=1, k=5)
    assert seen == [Hit(0.4, "a"), Hit(0.45, "b")]


def test_nothing_found_is_nothing() -> None:
    assert narrowed([], [(0.7, []), (0.3, [])], weight=0.1, k=3) == []


def test_likely_categories_are_few_and_not_improbable() -> None:
    shares = [("a", 0.4), ("b", 0.25), ("c", 0.2), ("d", 0.15)]
    assert likely(shares) == shares[:MOST_CATEGORIES]
    assert likely([("a", 1 - LEAST_SHARE), ("b", LEAST_SHARE)]) == [("a", 0.9), ("b", 0.1)]
    assert likely([("a", 0.95), ("b", 0.05)]) == [("a", 0.95)]
    assert likely([]) == []
