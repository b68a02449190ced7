"""Every measured rate stands in the results it names; an assumed one says how it was thought up."""

from __future__ import annotations

from pathlib import Path

import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.rates import RATES, Basis, Rate, Rates

ROOT = Path(__file__).resolve().parents[4]


def spaced(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.name)
def test_a_measured_rate_stands_where_it_says_and_an_assumed_one_claims_no_source(rate: Rate) -> None:
    assert rate.value > 0
    assert rate.how
    if rate.basis is Basis.MEASURED:
        assert rate.quote
        assert rate.quote in spaced((ROOT / rate.source).read_text())
    else:
        assert rate.basis is Basis.ASSUMED
        assert not rate.source


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate.basis is Basis.MEASURED], ids=lambda rate: rate.name)
def test_the_figure_of_a_measured_rate_is_in_its_quote(rate: Rate) -> None:
    """By the arithmetic that `how` tells: one of the quoted numbers, times what it was measured over."""
    quoted = [
        float(word.replace(",", "")) for word in rate.quote.split() if word.replace(",", "").replace(".", "").isdigit()
    ]
    over = {
        "search_per_core": 200_000 * 128 / 2,
        "embedded_per_core": 1 / 2,
        "indexed_per_core": 128 / 2,
        "recommended_per_core": 10_000 * 128 / 2,
    }
    if rate.name == "row_on_disk":
        assert rate.value == (quoted[0] * 2**20 - 256e6) / 1e6
    else:
        assert rate.value in [number * over.get(rate.name, 1.0) for number in quoted]


def test_the_rates_that_were_asked_for_are_noted_in_order() -> None:
    rates = Rates()
    rates("plan_bytes"), rates("search_per_core"), rates("plan_bytes")
    assert [rate.name for rate in rates.used] == ["plan_bytes", "search_per_core"]


def test_a_rate_of_ones_own_replaces_it_and_is_told_apart() -> None:
    rates = Rates({"photos_per_l4": 2_500.0})
    assert rates("photos_per_l4") == 2_500
    assert [rate.basis for rate in rates.used] == [Basis.GIVEN]
    assert Rates()("photos_per_l4") == 903


@pytest.mark.parametrize(("given", "said"), [({"speed": 1.0}, "no such rate"), ({"plan_bytes": 0.0}, "above 0")])
def test_a_rate_that_can_not_be_is_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Rates(given)
