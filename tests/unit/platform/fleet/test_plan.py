"""A plan's arithmetic by hand, its bounds, and what it answers when there is no way."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, parse_definition, read_definition
from visnet.platform.fleet.demand import Demand
from visnet.platform.fleet.machines import GIB, machine_of
from visnet.platform.fleet.plan import Plan, make_plan, nodes_for
from visnet.platform.fleet.plan_fit import gaps, snippet
from visnet.platform.fleet.plan_shards import PROCESS_BYTES
from visnet.platform.fleet.plan_text import plan_text
from visnet.platform.fleet.rates import Rates
from visnet.platform.placement import Part
from visnet.platform.settings import Settings
from visnet.platform.settings_file import load_settings, parse_settings

FILE = Path(__file__).resolve().parents[4] / "cluster.yaml"
FIFTY_MILLION = Demand(images=50_000_000, queries_per_s=2_000.0)
SHOP = Demand(images=100_000, queries_per_s=20.0)


@pytest.fixture(scope="module")
def definition() -> ClusterDefinition:
    return read_definition(FILE)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(FILE)


def on_cpus(demand: Demand, **more: Any) -> Plan:
    rates = Rates(more.pop("rates", None))
    file = read_definition(FILE)
    return make_plan(demand, file, load_settings(FILE), rates, serve_on="cpu", work_on="cpu", **more)


def on_gpus(demand: Demand, **more: Any) -> Plan:
    return make_plan(demand, read_definition(FILE), load_settings(FILE), Rates(more.pop("rates", None)), **more)


def but(demand: Demand, **changes: Any) -> Demand:
    return dataclasses.replace(demand, **changes)


def test_on_cpus_the_cores_are_what_the_multiply_adds_take() -> None:
    shards = on_cpus(FIFTY_MILLION).serve.shards
    core_s_per_query = 50e6 * 256 / Rates()("search_per_core")
    assert shards.queries_per_s == pytest.approx(
        shards.shards * shards.copies * shards.cpus / core_s_per_query, rel=0.01
    )
    assert shards.queries_per_s * 0.7 >= 2_000
    assert 2 * shards.one_pass.seconds <= 0.25
    assert shards.copies_bound == "search arithmetic"


def test_on_a_card_a_pass_is_the_vectors_and_the_scores_through_its_memory() -> None:
    serve = on_gpus(FIFTY_MILLION).serve
    shards = serve.shards
    moved = shards.rows * (2 * 256 + 8 * 64)
    assert shards.one_pass.seconds == pytest.approx(moved / (300e9 * 0.5))
    assert shards.vector_bytes == 2 * 256 * shards.rows <= (0.9 * 24e9 - 1.5e9) / 2
    assert shards.one_pass.bound == "memory bandwidth of the cards"
    assert serve.bound == "the shards: memory bandwidth of the cards"


def test_few_dimensions_less_and_large_batches_are_bound_by_arithmetic() -> None:
    settings = parse_settings({"serve": {"search_batch_size": 4_096}}, source="test")
    demand = but(FIFTY_MILLION, dimension=1_024, latency_s=60.0)
    rates = Rates({"gpu_score_bytes": 0.01})
    made = make_plan(demand, read_definition(FILE), settings, rates)
    assert made.serve.shards.one_pass.bound == "search arithmetic"


@pytest.mark.parametrize("plan", [on_cpus, on_gpus])
def test_more_of_anything_never_takes_fewer_nodes(plan: Any) -> None:
    few = plan(FIFTY_MILLION).serve.nodes
    assert plan(but(FIFTY_MILLION, queries_per_s=4_000.0)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, images=100_000_000)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, dimension=512)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, replicas=9)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, photo_share=1.0, detector_share=1.0)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, utilisation=0.5)).serve.nodes > few
    assert plan(but(FIFTY_MILLION, searched_share=0.1)).serve.nodes < few
    assert plan(but(FIFTY_MILLION, recommend_share=0.8)).serve.nodes < few


@pytest.mark.parametrize("plan", [on_cpus, on_gpus])
@pytest.mark.parametrize("demand", [FIFTY_MILLION, SHOP, but(SHOP, queries_per_s=3_000.0, detector_share=1.0)])
def test_when_one_copy_of_anything_is_gone_the_rest_are_enough(plan: Any, demand: Demand) -> None:
    serve = plan(demand).serve
    shards = serve.shards
    assert shards.queries_per_s * (shards.copies - 1) / shards.copies >= demand.searches_per_s
    assert serve.embedder.per_s * (serve.embedder.replicas - 1) >= demand.photos_per_s
    assert serve.ingress.per_s * (serve.ingress.replicas - 1) >= demand.queries_per_s


def test_a_release_is_switched_beside_the_old_or_on_as_many_nodes_again() -> None:
    beside = on_gpus(FIFTY_MILLION).serve
    apart = on_gpus(FIFTY_MILLION, switch="more-nodes").serve
    assert beside.shards.gpus == 0.5
    assert beside.nodes == beside.most_nodes
    assert apart.shards.gpus == 1.0
    assert apart.nodes < apart.most_nodes <= 2 * apart.nodes


def test_written_rows_are_kept_beside_the_index_in_a_block_that_doubles() -> None:
    written = on_gpus(but(FIFTY_MILLION, upserts_per_s=100.0, fold_hours=24.0)).serve.shards
    still = on_gpus(FIFTY_MILLION).serve.shards
    assert written.vector_bytes / written.rows == pytest.approx(512 * (1 + 2 * 8_640_000 / 50e6))
    assert written.one_pass.seconds / written.rows > still.one_pass.seconds / still.rows


def test_the_detector_takes_its_measured_share_of_the_embedder() -> None:
    plain, found = (on_cpus(but(FIFTY_MILLION, detector_share=share)).serve.embedder for share in (0.0, 1.0))
    assert plain.per_s == 39.1
    assert found.per_s == pytest.approx(10.8)
    assert found.replicas == math.ceil(400 / (10.8 * 0.7))


def test_many_shards_make_the_calls_to_them_what_binds_the_ingress() -> None:
    assert on_cpus(FIFTY_MILLION).serve.ingress.bound == "HTTP"
    demand = but(FIFTY_MILLION, images=500_000_000)
    assert on_cpus(demand).serve.ingress.bound == "calls to the shards"


def test_the_refresh_takes_the_nodes_that_its_hours_leave_it() -> None:
    work = on_cpus(but(FIFTY_MILLION, refresh_hours=2.0)).work
    assert work.nodes == math.ceil(50e6 / (65 * 16 * 2 * 3_600))
    assert work.embed_hours <= 2.0
    assert on_cpus(FIFTY_MILLION).work.nodes == 1
    assert work.driver_bytes == 160 * 50_000_000


def test_recommendations_grow_with_the_square() -> None:
    assert on_cpus(FIFTY_MILLION).work.recommend_core_hours == 0
    one, two = (on_cpus(but(SHOP, images=n, recommend_category_share=0.01)).work for n in (10**6, 2 * 10**6))
    assert two.recommend_core_hours == pytest.approx(4 * one.recommend_core_hours)


def test_ones_own_rate_counts() -> None:
    fast = on_cpus(FIFTY_MILLION, rates={"search_per_core": 1.683e11})
    assert fast.serve.nodes < on_cpus(FIFTY_MILLION).serve.nodes / 5


def test_cost_is_shown_only_by_prices_that_were_all_given() -> None:
    prices = {"cpu": 1.0, "head": 0.5, "storage": 0.02}
    assert on_cpus(SHOP, prices={"cpu": 1.0}).cost is None
    made = on_cpus(SHOP, prices=prices)
    assert made.cost is not None
    assert made.cost.serve == made.serve.nodes * 730.0
    assert made.cost.head == 365.0
    assert made.cost.total == pytest.approx(made.cost.serve + 365.0 + made.cost.work + made.cost.storage)
    assert "by the prices given" in plan_text(made, [], "")


def test_the_text_says_what_rests_on_assumptions() -> None:
    text = plan_text(on_gpus(FIFTY_MILLION), [], "")
    assert "assumed:\n  gpu_scratch" in text
    assert "no promise" in text


def test_the_file_that_was_made_from_the_snippet_fits(definition: ClusterDefinition, settings: Settings) -> None:
    import yaml

    made = on_gpus(FIFTY_MILLION)
    missing = gaps(made, definition, settings)
    assert {gap.key for gap in missing} >= {"available_node_types.serve.max_workers", "max_workers"}
    wanted = yaml.safe_load(snippet(made, definition))
    content = merged(yaml.safe_load(FILE.read_text()), wanted)
    grown = parse_definition(content, source="snippet")
    assert gaps(made, grown, parse_settings(content["metadata"]["visnet"], source="snippet")) == []


def test_a_type_that_serves_as_well_as_it_works_becomes_two_in_the_file(
    definition: ClusterDefinition, settings: Settings
) -> None:
    import yaml

    made = on_cpus(FIFTY_MILLION)
    types = yaml.safe_load(snippet(made, definition))["available_node_types"]
    assert types["serve-cpu"]["labels"] == {"pool": "serve"}
    assert types["serve-cpu"]["max_workers"] == made.serve.most_nodes
    assert types["cpu"] == {"max_workers": made.work.nodes}
    assert "metadata.visnet.serve.embedder.gpus" in {gap.key for gap in gaps(made, definition, settings)}


def merged(file: Any, wanted: Any) -> Any:
    if not (isinstance(file, dict) and isinstance(wanted, dict)):
        return wanted
    return {**file, **{key: merged(file.get(key), value) for key, value in wanted.items()}}


def test_nodes_are_as_many_as_the_controller_needs_and_no_more(definition: ClusterDefinition) -> None:
    machine = machine_of(next(kind for kind in definition.workers if kind.name == "cpu"))
    part = Part(name="a", replicas=7, cpus=5, gpus=0, memory_bytes=GIB)
    assert nodes_for([part], machine) == 3
    assert nodes_for([dataclasses.replace(part, spread=True)], machine) == 7
    with pytest.raises(SettingsError, match="too small"):
        nodes_for([dataclasses.replace(part, cpus=17)], machine)


@pytest.mark.parametrize(
    ("demand", "more", "said"),
    [
        (but(SHOP, latency_s=1e-9), {}, "no shard is fast enough"),
        (SHOP, {"serve_on": "gpuu"}, "expected one of gpu, cpu, serve"),
        (but(SHOP, dimension=10**11), {"serve_on": "cpu"}, "no shard fits on a node of type cpu"),
    ],
)
def test_what_can_not_be_says_what_to_change(demand: Demand, more: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        on_gpus(demand, **more)


@pytest.mark.parametrize(
    ("name", "value"),
    [("images", 0), ("queries_per_s", 0.0), ("photo_share", 1.2), ("utilisation", 0.0), ("upserts_per_s", -1.0)],
)
def test_a_demand_that_can_not_be_names_its_field(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=name):
        but(SHOP, **{name: value})


def test_photos_and_recommendations_are_no_more_than_all_queries() -> None:
    with pytest.raises(SettingsError, match="at most 1 together"):
        but(SHOP, photo_share=0.6, recommend_share=0.6)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"resources": {"CPU": 4}, "node_config": {"InstanceType": "x9.unheard"}}, "resources.memory"),
        ({"resources": {"CPU": 4, "GPU": 1, "memory": 1e10}}, "ray.io/accelerator-type"),
        ({"resources": {"GPU": 1, "memory": 1e10}}, "resources.CPU"),
    ],
)
def test_a_machine_that_is_not_known_says_what_to_write(kind: dict[str, Any], said: str) -> None:
    content = {"cluster_name": "c", "max_workers": 1, "head_node_type": "head"}
    file = parse_definition({**content, "available_node_types": {"head": {}, "new": {**kind}}}, source="test")
    with pytest.raises(SettingsError, match=said):
        machine_of(file.workers[0])


def test_a_machine_can_be_told_by_its_labels_and_memory() -> None:
    new = {"resources": {"CPU": 4, "GPU": 2, "memory": 1e10}, "labels": {"ray.io/accelerator-type": "H100"}}
    content = {"cluster_name": "c", "max_workers": 1, "head_node_type": "head"}
    file = parse_definition({**content, "available_node_types": {"head": {}, "new": new}}, source="test")
    machine = machine_of(file.workers[0])
    assert (machine.cards, machine.memory_bytes) == (2, 1e10)
    assert machine.card is not None
    assert machine.card.memory_bytes == 80 * 10**9


def test_a_process_weighs_what_the_service_says_it_does() -> None:
    from visnet.serve import parts

    assert parts.PROCESS_BYTES == PROCESS_BYTES


def test_ingresses_apart_take_a_node_each() -> None:
    demand = but(SHOP, queries_per_s=8_000.0, recommend_share=0.8, photo_share=0.1)
    together, apart = (
        make_plan(
            demand,
            read_definition(FILE),
            parse_settings({"serve": {"ingress_apart": given, "embedder": {"gpus": 0.25}}}, source="test"),
            Rates(),
        )
        for given in (False, True)
    )
    assert apart.serve.ingress.replicas == together.serve.ingress.replicas == apart.serve.alone["ingress"]
    assert together.serve.alone["ingress"] < apart.serve.alone["ingress"] <= apart.serve.nodes
