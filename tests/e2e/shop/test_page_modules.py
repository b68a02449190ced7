"""The page's arithmetic, as the browser does it, against plain Python: percentiles, agreement, boxes, the map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.browser import Tab
from visnet.serve.metering import Counter, Histogram

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")]


def call(page: Page, module: str, name: str, *arguments: Any) -> Any:
    """What a function of one of the page's modules returns."""
    script = """async ([module, name, given]) => {
        const result = (await import(`/page/${module}.js`))[name](...given);
        return result instanceof Map ? Object.fromEntries(result) : result;
    }"""
    return page.evaluate(script, [module, name, list(arguments)])


@pytest.fixture
def shown(page: Tab) -> Page:
    return page.open()


BOUNDS = (0.001, 0.01, 0.1, 1.0)


def prometheus(families: list[Any], replica: str) -> str:
    lines = []
    for family in families:
        for sample in family.samples():
            labels = ",".join(f'{name}="{value}"' for name, value in {**sample.labels, "replica": replica}.items())
            lines.append(f"{sample.name}{{{labels}}} {sample.value}")
    return "# HELP x y\n" + "\n".join(lines) + "\n"


PERCENTILES = """async ([before, after, shares]) => {
    const {carriedOn, histogram, labelValues, percentile, readMetrics, rise, total} = await import("/page/figures.js");
    const [first, second] = [before, after].map(readMetrics);
    const risen = rise(first, carriedOn(first, second));
    const seconds = histogram(risen, "seconds", ({stage}) => stage === "search");
    return {
        requests: total(risen, "requests"),
        stages: labelValues(risen, "seconds_bucket", "stage"),
        count: seconds.count,
        sum: seconds.sum,
        percentiles: shares.map((share) => percentile(seconds, share)),
    };
}"""


def test_rates_and_percentiles_are_of_what_was_counted_between_two_readings(shown: Page) -> None:
    random = np.random.default_rng(0)
    seconds, requests = Histogram("seconds", "", "stage", bounds=BOUNDS), Counter("requests", "")
    for value in random.uniform(0, 1, 500):
        seconds.observe(float(value), "search")
        requests.add()
    before = prometheus([seconds, requests], "a")
    values = random.lognormal(-3, 1.2, 4_000)
    for value in values:
        seconds.observe(float(value), "search")
        seconds.observe(0.5, "embed")
        requests.add()
    shares = [0.1, 0.5, 0.95, 0.999]
    found = shown.evaluate(PERCENTILES, [before, prometheus([seconds, requests], "a"), shares])
    assert (found["requests"], found["count"], found["stages"]) == (4_000, 4_000, ["embed", "search"])
    assert found["sum"] == pytest.approx(values.sum())
    for share, percentile in zip(shares, found["percentiles"], strict=True):
        exact = float(np.quantile(values, share))
        bucket = next((one for one in BOUNDS if one >= exact), BOUNDS[-1])
        low = max((one for one in (0.0, *BOUNDS) if one < bucket), default=0.0)
        assert low <= percentile <= bucket  # as near as a histogram can tell


def test_a_replica_that_starts_anew_or_is_not_heard_once_counts_right(shown: Page) -> None:
    first, again, other = (Counter("requests", "") for _ in range(3))
    first.add(amount=100)
    again.add(amount=7)
    other.add(amount=50)
    before = prometheus([first], "a") + prometheus([other], "b")
    after = prometheus([again], "a")  # started anew; b did not answer
    assert shown.evaluate(PERCENTILES, [before, after, []])["requests"] == 7


def test_nothing_observed_has_no_percentile(shown: Page) -> None:
    assert call(shown, "figures", "percentile", {"bounds": [], "counts": [], "count": 0}, 0.5) is None


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 3), (5, 0), (9, 2), (30, 12)])
def test_the_sign_test_is_the_binomial_s(shown: Page, a: int, b: int) -> None:
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
    assert call(shown, "judging", "signTest", a, b) == pytest.approx(min(1, 2 * tail))


def results(*ids: str) -> list[dict[str, str]]:
    return [{"product_id": one, "category": one[0]} for one in ids]


def test_how_two_answers_agree(shown: Page) -> None:
    one, other = results("a1", "b1", "a2", "c1"), results("b1", "a1", "d1", "d2")
    assert call(shown, "judging", "overlap", one, other, 4) == 0.5
    assert call(shown, "judging", "overlap", one, other, 1) == 0
    assert call(shown, "judging", "overlap", [], [], 4) is None
    assert call(shown, "judging", "moves", other, one) == {"b1": 1, "a1": -1, "d1": None, "d2": None}
    assert call(shown, "judging", "sameFirst", one, other) is False
    assert call(shown, "judging", "categoryPrecision", one, "a", 4) == 0.5
    assert call(shown, "judging", "mean", [True, False, None, 1]) == pytest.approx(2 / 3)


def test_boxes_stay_within_the_photo_and_never_turn_over(shown: Page) -> None:
    assert call(shown, "boxes", "moved", [0.1, 0.1, 0.4, 0.3], [-0.5, 0.9]) == pytest.approx([0, 0.8, 0.3, 1])
    assert call(shown, "boxes", "resized", [0.2, 0.2, 0.6, 0.6], "se", [-0.9, 0.9]) == pytest.approx(
        [0.2, 0.2, 0.24, 1]
    )
    assert call(shown, "boxes", "spanned", [0.8, 0.9], [-0.2, 0.3]) == pytest.approx([0, 0.3, 0.8, 0.9])


def test_filters_are_what_the_api_takes(shown: Page) -> None:
    one = call(shown, "conditions", "withValue", {}, "category", "bags")
    two = call(shown, "conditions", "withCondition", one, "price", {"gte": 3, "lte": ""})
    assert two == {"category": ["bags"], "must": [{"gte": 3, "field": "price"}]}
    assert call(shown, "conditions", "withValue", two, "category", "bags") == {"must": two["must"]}
    assert call(shown, "conditions", "isEmpty", {}) is True


def test_the_map_says_how_well_categories_keep_together(shown: Page) -> None:
    random = np.random.default_rng(0)
    places = np.concatenate([random.normal(0.2, 0.02, (40, 2)), random.normal(0.8, 0.02, (40, 2))])
    points = [
        {"x": float(x), "y": float(y), "category": "one" if number < 40 else "other"}
        for number, (x, y) in enumerate(places)
    ]
    mixed = {entry["category"]: entry for entry in call(shown, "plane", "mixing", points)}
    assert (mixed["one"]["same"], mixed["other"]["count"]) == (1, 40)
