"""The day that is drawn beforehand: its curve, and what dies when."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.simulation_day import SLOTS, Cause, failures, photos
from visnet.platform.fleet.simulation_scenario import HOUR_S, Scenario, Sizes, Traffic, Troubles, calm


def at(scenario: Scenario, hour: float) -> float:
    return float(photos(scenario)[round(hour * HOUR_S / scenario.times.tick_s)])


def test_the_evening_is_the_peak_and_the_night_a_fifth_of_it() -> None:
    quiet = Scenario(traffic=Traffic(noise=0.0, sale_factor=1.0, peak_photos_per_s=1_000.0))
    assert at(quiet, 20.4) == pytest.approx(1_000.0, rel=0.05)
    assert at(quiet, 20.4) == pytest.approx(float(photos(quiet).max()), rel=0.02)
    assert at(quiet, 3.5) == pytest.approx(200.0, rel=0.1)
    assert at(quiet, 23.99) == pytest.approx(at(quiet, 0.0), rel=0.02)  # days follow each other


def test_a_sale_lasts_half_an_hour() -> None:
    sale, none = (Scenario(traffic=Traffic(noise=0.0, sale_factor=factor)) for factor in (3.0, 1.0))
    ratio_T = photos(sale) / photos(none)
    assert ratio_T.max() == pytest.approx(3.0)
    hour_T = np.arange(sale.ticks) * sale.times.tick_s / HOUR_S
    assert set(np.unique(np.floor(2 * hour_T[ratio_T > 1.0001]))) == {30.0}


def test_noise_wanders_and_depends_on_the_seed_alone() -> None:
    one, again, other = (photos(Scenario(seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 10
    plain = photos(Scenario(seed=1, traffic=Traffic(noise=0.0)))
    relative = one / plain - 1
    assert relative.std() == pytest.approx(0.05, rel=0.5)
    assert np.corrcoef(relative[:-1], relative[1:])[0, 1] > 0.95


def test_deaths_are_as_many_as_nodes_and_hours_make_likely() -> None:
    scenario = Scenario(troubles=Troubles(mtbf_hours=100.0, rack_at_s=None, zone_at_s=None))
    found = failures(scenario)
    assert len(found) == pytest.approx(SLOTS * 24 / 100, rel=0.15)
    assert [one.at_s for one in found] == sorted(one.at_s for one in found)
    assert {one.cause for one in found} == {Cause.NODE}


def test_failures_are_the_same_whatever_the_sizes() -> None:
    small, large = (Scenario(seed=3, sizes=Sizes(shards=shards)) for shards in (1, 1_000))
    assert failures(small) == failures(large)
    assert failures(small) != failures(dataclasses.replace(small, seed=4))


def test_a_calm_day_has_none() -> None:
    assert failures(calm(Scenario())) == []
    assert {one.cause for one in failures(Scenario())} == set(Cause)


@pytest.mark.parametrize("wrong", [{"shards": 0}, {"replicas": 0}, {"max_embedders": 1}, {"spare_nodes": -1}])
def test_sizes_that_can_not_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Sizes(**wrong)
