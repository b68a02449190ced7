"""What holds on any simulated day, whatever fails: Ray's and Serve's policies run in it, no cluster does."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.simulation import Simulation
from visnet.platform.fleet.simulation_embedder import EMBEDDER, surplus
from visnet.platform.fleet.simulation_nodes import NodeState
from visnet.platform.fleet.simulation_result import Day
from visnet.platform.fleet.simulation_scenario import HOUR_S, Scenario, Sizes, Times, Traffic, Troubles, calm

FILE = Path(__file__).resolve().parents[4] / "cluster.yaml"
QUIET = Traffic(peak_photos_per_s=300.0, sale_factor=1.0)
ROUGH = Troubles(
    mtbf_hours=40.0, rack_at_s=1.0 * HOUR_S, rack_nodes=3, zone_at_s=2.0 * HOUR_S, release_at_s=1.5 * HOUR_S
)
STEADY = {"target_ongoing_requests": 4.0, "downscaling_factor": 0.25}


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


def scenario(seed: int = 0, hours: float = 3.0, traffic: Traffic = QUIET, **sizes: Any) -> Scenario:
    made = Sizes(**{"shards": 24, "max_embedders": 8, **STEADY, **sizes})
    return Scenario(seed=seed, hours=hours, sizes=made, traffic=traffic, troubles=ROUGH)


def but(made: Scenario, **troubles: Any) -> Scenario:
    return dataclasses.replace(made, troubles=dataclasses.replace(made.troubles, **troubles))


def holds(simulation: Simulation) -> None:
    """What must hold after each tick."""
    running = {node.number: node for node in simulation.nodes.running}
    used: Counter[int] = Counter()
    for deployed in simulation.copies.deployed.values():
        placed = [copy.node for copy in deployed.copies if copy.node is not None]
        assert all(running.get(node.number) is node for node in placed)  # none on a dead one
        if deployed.part.spread:
            assert len({node.number for node in placed}) == len(placed)
        assert all(copy.node is not None for copy in deployed.copies if copy.up)
        for node in placed:
            used[node.number] += 1
    assert {number: node.copies for number, node in running.items() if node.copies} == dict(used)
    for node in running.values():
        assert all(free >= -1e-6 for free in simulation.nodes.room(node).values())
    assert len(simulation.nodes.there(*NodeState)) <= simulation.max_workers
    moment = simulation.moments[-1]
    ups = [len(simulation.copies.up(part.name)) for part in simulation.serving.parts[1:]]
    assert moment.dark == sum(not up for up in ups)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [{}, {"apart": False}, {"replicas": 3, "spare_nodes": 2}, {"zones_apart": True}])
def test_whatever_dies_no_copy_is_on_a_dead_node_and_no_node_holds_two(
    definition: ClusterDefinition, seed: int, sizes: dict[str, Any]
) -> None:
    day = Simulation(scenario(seed, **sizes), definition, watch=holds).run()
    assert day.summary.deaths > 0


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_day_without_failures_has_no_dark_shard_even_while_a_release_is_switched(
    definition: ClusterDefinition, replicas: int
) -> None:
    day = Simulation(calm(scenario(replicas=replicas)), definition, watch=holds).run()
    assert day.summary.dark_minutes == 0
    assert day.summary.single_minutes == 0
    assert day.summary.deaths == 0
    assert day.summary.switch_minutes is not None


@pytest.mark.parametrize("seed", range(4))
def test_more_copies_leave_fewer_shards_dark_on_the_same_day(definition: ClusterDefinition, seed: int) -> None:
    dark = [Simulation(scenario(seed, replicas=n), definition).run().summary.dark_minutes for n in (1, 2, 3)]
    assert dark[0] >= dark[1] >= dark[2]
    assert dark[0] > 0


def test_copies_in_zones_of_their_own_outlive_a_zone(definition: ClusterDefinition) -> None:
    only_zone = {"mtbf_hours": 0.0, "rack_at_s": None, "release_at_s": None}
    by_node, by_zone = (
        Simulation(but(scenario(shards=60, zones_apart=zones), **only_zone), definition).run().summary
        for zones in (False, True)
    )
    assert by_node.worst_dark > 0
    assert by_zone.worst_dark == 0


def test_the_same_seed_is_the_same_day_and_another_is_another(definition: ClusterDefinition) -> None:
    one, again, other = (Simulation(scenario(seed), definition).run() for seed in (1, 1, 2))
    assert one == again
    assert one.summary != other.summary


def test_a_switch_needs_as_many_nodes_again_and_gives_them_back(definition: ClusterDefinition) -> None:
    made = calm(scenario(hours=4.0))
    simulation = Simulation(made, definition)
    day = simulation.run()
    before, at_most, after = day.moments[0].nodes, day.summary.most_nodes, day.moments[-1].nodes
    assert at_most >= 2 * before - 1
    assert after < at_most  # Ray's idle timeout
    assert simulation.serving.name == "new"
    assert len(simulation.copies.deployed) == 1 + made.sizes.shards


def test_a_switch_waits_for_a_copy_that_dies_while_it_is_under_way(
    definition: ClusterDefinition,
) -> None:
    made = but(scenario(hours=4.0), mtbf_hours=0.0, zone_at_s=None, rack_at_s=None)
    clean = Simulation(made, definition).run().summary
    assert clean.switch_minutes is not None
    assert clean.refusals == 0
    during = 1.5 * HOUR_S + 60.0 * clean.switch_minutes - 15.0  # just before all stand
    broken = Simulation(but(made, rack_at_s=during, rack_nodes=99), definition).run().summary
    assert broken.refusals == 0
    assert broken.switch_minutes is not None
    assert broken.switch_minutes > clean.switch_minutes


def test_a_day_needs_no_new_node_if_there_is_a_spare_one(definition: ClusterDefinition) -> None:
    one_dies = {"mtbf_hours": 0.0, "zone_at_s": None, "release_at_s": None, "rack_at_s": HOUR_S, "rack_nodes": 1}
    none, spare = (
        Simulation(but(scenario(replicas=2, spare_nodes=nodes, min_embedders=8), **one_dies), definition).run()
        for nodes in (0, 2)
    )
    assert none.summary.deaths == spare.summary.deaths == 1
    assert none.summary.single_minutes > spare.summary.single_minutes > 0


def test_a_slower_cloud_and_slower_loading_keep_shards_single_for_longer(definition: ClusterDefinition) -> None:
    made = but(scenario(), release_at_s=None)
    fast, slow_boot, slow_load = (
        Simulation(dataclasses.replace(made, times=times), definition).run().summary
        for times in (Times(), Times(boot_s=600.0), Times(load_bytes_per_s=10e6))
    )
    assert slow_boot.single_minutes > fast.single_minutes
    assert slow_load.single_minutes > fast.single_minutes


def test_a_death_is_mended_only_once_it_is_known(definition: ClusterDefinition) -> None:
    at_s = HOUR_S
    one_dies = {"mtbf_hours": 0.0, "zone_at_s": None, "release_at_s": None, "rack_at_s": at_s, "rack_nodes": 1}
    times = Times(detect_s=100.0)
    made = dataclasses.replace(but(scenario(min_embedders=8), **one_dies), times=times)
    moments = Simulation(made, definition).run().moments
    unknown = [one for one in moments if at_s <= one.at_s < at_s + times.detect_s]
    assert all(one.single > 0 for one in unknown)
    assert all(one.waiting == one.nodes_coming == one.loading == 0 for one in unknown)
    known = next(one for one in moments if one.at_s >= at_s + times.detect_s)
    assert known.nodes_coming == 1
    assert known.waiting + known.loading > 0


def test_nodes_are_paid_for_from_the_request_on(definition: ClusterDefinition) -> None:
    made = but(calm(scenario(hours=1.0, min_embedders=8)), release_at_s=None)
    day = Simulation(made, definition).run()
    assert {moment.nodes for moment in day.moments} == {day.moments[0].nodes}
    assert day.summary.node_hours == pytest.approx(day.moments[0].nodes)


def embedder_day(definition: ClusterDefinition, **sizes: Any) -> Day:
    busy = Traffic(peak_photos_per_s=2_000.0, sale_factor=1.0)
    made = scenario(hours=2.0, traffic=busy, shards=2, max_embedders=40, **sizes)
    return Simulation(but(calm(made), release_at_s=None), definition).run()


def test_the_embedder_follows_its_load_by_serves_own_policy(definition: ClusterDefinition) -> None:
    sale = Traffic(peak_photos_per_s=2_000.0, sale_factor=3.0, sale_at_s=0.5 * HOUR_S, noise=0.0)
    made = scenario(hours=2.0, traffic=sale, shards=2, max_embedders=40)
    day = Simulation(but(calm(made), release_at_s=None), definition).run()
    before, during, after = (day.moments[round(hour * 720)].embedders for hour in (0.45, 0.9, 1.9))
    assert during > before
    assert after < during
    assert all(2 <= moment.embedders_wanted <= 40 for moment in day.moments)


def test_a_high_target_swings_between_too_few_and_too_many(definition: ClusterDefinition) -> None:
    high, low = (embedder_day(definition, target_ongoing_requests=target) for target in (32.0, 4.0))
    assert high.summary.under_minutes > 5 * low.summary.under_minutes
    assert high.summary.refused_share > low.summary.refused_share


def test_what_ends_first_are_replicas_that_do_not_run_and_then_those_on_the_emptiest_nodes(
    definition: ClusterDefinition,
) -> None:
    simulation = Simulation(calm(scenario(min_embedders=4)), definition)
    copies = simulation.copies.deployed[EMBEDDER].copies
    simulation.copies.scale(EMBEDDER, 5, 0.0)
    assert surplus(simulation.copies, 1) == [copies[-1]]
    loads = sorted(copy.node.copies for copy in copies if copy.node is not None)
    ended = surplus(simulation.copies, 2)
    assert copies[-1] in ended
    assert [copy.node.copies for copy in ended if copy.node is not None] == [loads[0]]


def test_minutes_keep_the_worst_of_their_ticks(definition: ClusterDefinition) -> None:
    day = Simulation(scenario(), definition).run()
    minutes = day.minutes()
    assert len(minutes) == 180
    assert max(minute.dark for minute in minutes) == day.summary.worst_dark
    assert sum(minute.refused for minute in minutes) == pytest.approx(sum(moment.refused for moment in day.moments))
