"""What a release is served by: the parts' names hold all that they are made of, and their memory what they hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.release_pieces import detector, light_detectors, pieces
from visnet.platform.placement import Part
from visnet.platform.release import Localisation, create_release
from visnet.platform.settings import DetectionSettings, EmbedderSettings, ServeSettings
from visnet.platform.store import Store
from visnet.serve.parts import PROCESS_BYTES, actor_options, embedder_name, plan_of, shard_names, targets


@pytest.fixture
def ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    light_detectors(monkeypatch)
    pieces(store)
    store.write("encoders/e/weights.safetensors", b"w" * 1_000)
    return store


def made(store: Store, localisation: Localisation | None = None) -> str:
    return create_release(store, index="x", recommendations="r", evaluation={}, localisation=localisation).release


def with_detector(store: Store, seed: int = 0, **further: Any) -> str:
    found_by = detector(store, seed=seed).detector
    return made(store, Localisation(detector=found_by, **{"measured": {}, "by_default": True, **further}))


def embedder(store: Store, release: str, **settings: Any) -> Part:
    plan = plan_of(store, release, ServeSettings(**settings), None)
    assert plan.parts[0].name == embedder_name(plan)
    return plan.parts[0]


def margin(share: float) -> dict[str, Any]:
    return {"detection": DetectionSettings(margin=share)}


def test_an_embedder_is_named_for_its_detector_and_margin(ready: Store) -> None:
    plain, first, second = made(ready), with_detector(ready), with_detector(ready, seed=1)
    names = {
        embedder(ready, release, **settings).name
        for release, settings in (
            (plain, {}), (first, {}), (second, {}), (first, margin(0.2)),
            (first, {"embedder": EmbedderSettings(max_batch_size=7)}),
        )
    }  # fmt: skip
    assert len(names) == 5
    assert all(name.startswith("embedder-e-") for name in names)


def test_an_embedder_stays_where_it_would_do_the_same(ready: Store) -> None:
    plain, first = made(ready), with_detector(ready)
    assert embedder(ready, plain, **margin(0.2)).name == embedder(ready, plain).name
    category_weight = {"detection": DetectionSettings(category_weight=0.5)}  # the ingress's
    assert embedder(ready, first, **category_weight).name == embedder(ready, first).name
    measured = with_detector(ready, measured={"recall_at_k": 0.5}, by_default=False)
    assert measured != first
    assert embedder(ready, measured).name == embedder(ready, first).name


def test_an_embedder_s_memory_is_for_both_networks(ready: Store) -> None:
    plain, first = made(ready), with_detector(ready)
    encoder = ready.size_bytes("encoders/e")
    detector = ready.size_bytes("detectors")
    assert encoder >= 1_000
    assert detector
    assert embedder(ready, plain).memory_bytes == PROCESS_BYTES + 2 * encoder
    assert embedder(ready, first).memory_bytes == PROCESS_BYTES + 2 * (encoder + detector)


def test_a_detector_changes_nothing_else_of_an_embedder(ready: Store) -> None:
    plain, first = (embedder(ready, release) for release in (made(ready), with_detector(ready)))
    assert dataclasses.replace(first, name=plain.name, memory_bytes=plain.memory_bytes) == plain


def test_a_plan_has_an_embedder_and_a_part_for_each_shard(ready: Store) -> None:
    release = with_detector(ready)
    plan = plan_of(ready, release, ServeSettings(), None)
    assert len(plan.parts) == 3
    assert [name.rpartition("-")[0] for name in shard_names(plan)] == [f"shard-{n}-{release}" for n in (0, 1)]
    assert plan_of(ready, made(ready), ServeSettings(), None).name != plan.name


def test_replicas_stay_on_the_nodes_of_their_pool() -> None:
    assert actor_options(ServeSettings(pool="serve"), 0.5) == {"num_cpus": 0.5, "label_selector": {"pool": "serve"}}
    assert actor_options(ServeSettings(pool=None), 0.5) == {"num_cpus": 0.5}


def test_replicas_ask_for_what_they_take() -> None:
    options = actor_options(ServeSettings(pool=None), 1.0, 0.25, memory_bytes=7, environment={"A": "b"})
    expected = {"num_cpus": 1.0, "num_gpus": 0.25, "memory": 7, "runtime_env": {"env_vars": {"A": "b"}}}
    assert options == expected


def test_every_part_of_a_release_is_of_the_pool(ready: Store) -> None:
    settings = ServeSettings(pool="serve")
    plan = plan_of(ready, with_detector(ready), settings, None)
    made = targets(ready, plan, plan.parts, settings, None)
    assert [target.name for target in made] == [part.name for part in plan.parts]
    for target in made:
        options = target.target._bound_deployment.ray_actor_options
        assert options["label_selector"] == {"pool": "serve"}


def test_another_pool_makes_other_parts(ready: Store) -> None:
    release = made(ready)
    here, there = (plan_of(ready, release, ServeSettings(pool=pool), None) for pool in ("serve", None))
    assert not {part.name for part in here.parts} & {part.name for part in there.parts}
