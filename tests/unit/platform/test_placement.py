"""What the controller is told to do, from how things stand; no cluster."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from visnet.platform.placement import (
    GIB,
    Activate,
    End,
    Ingress,
    Node,
    Part,
    Plan,
    Refuse,
    Resize,
    Running,
    Seen,
    Start,
    State,
    decide,
    misfit,
)

READY, STARTING = State.READY, State.STARTING


def part(name: str, **changes: object) -> Part:
    made = Part(name=name, replicas=1, cpus=1.0, gpus=0.0, memory_bytes=GIB)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def plan(name: str, *shards: str, replicas: int = 1) -> Plan:
    parts = (part("embedder", resizable=False), *(part(shard, replicas=replicas) for shard in shards))
    return Plan(name=name, release=f"r-{name}", parts=parts)


def node(cpus: float = 8, gpus: float = 0, memory_bytes: float = 8 * GIB) -> Node:
    return Node(cpus=cpus, gpus=gpus, memory_bytes=memory_bytes)


OLD, NEW = plan("old", "a-0"), plan("new", "b-0", "b-1")


def running(*plans: Plan, state: State = READY, **others: Running) -> dict[str, Running]:
    found = {one.name: Running(state=state, replicas=one.replicas) for each in plans for one in each.parts}
    return {**found, **others}


def seen(**changes: object) -> Seen:
    made = Seen(wanted=NEW, serving=OLD, running=running(OLD), nodes=[node()], ingresses=[on("old")])
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def on(name: str | None, **busy: int) -> Ingress:
    return Ingress(plan=name, busy=busy)


def test_nothing_is_wanted_and_nothing_is_done() -> None:
    assert decide(seen(wanted=None)) == []


def test_missing_parts_are_started_beside_those_that_serve() -> None:
    assert decide(seen()) == [Start(plan=NEW, parts=NEW.parts[1:])]  # the embedder is there


def test_what_is_starting_is_waited_for() -> None:
    standing = {**running(NEW, state=STARTING), **running(OLD)}
    assert decide(seen(running=standing)) == []
    almost = {**running(OLD, NEW), "b-1": Running(state=STARTING, replicas=1)}
    assert decide(seen(running=almost)) == []


def test_when_all_parts_stand_the_ingresses_may_move() -> None:
    assert decide(seen(running=running(OLD, NEW))) == [Activate(plan=NEW)]
    assert decide(seen(running=running(NEW), serving=None)) == [Activate(plan=NEW)]


def test_a_switch_that_does_not_fit_is_refused_before_anything_is_started() -> None:
    (refused,) = decide(seen(nodes=[node(cpus=1)]))
    assert isinstance(refused, Refuse)
    assert refused.plan == NEW
    assert "both releases do not fit at once" in refused.reason
    assert "1 CPUs" in refused.reason


def test_the_first_release_waits_for_its_nodes_instead() -> None:
    assert decide(seen(serving=None, running={}, nodes=[])) == [Start(plan=NEW, parts=NEW.parts)]


def test_a_plan_that_fails_is_given_up_and_what_serves_stays() -> None:
    failed = {**running(OLD, NEW), "b-1": Running(state=State.FAILED, replicas=1, reason="out of memory")}
    assert decide(seen(running=failed)) == [
        Refuse(plan=NEW, reason="out of memory"),
        End(parts=("b-0", "b-1")),  # not the embedder, which the old release uses
    ]


def test_what_serves_and_fails_is_left_to_serve_which_starts_it_again() -> None:
    failed = {**running(NEW), "b-1": Running(state=State.FAILED, replicas=1, reason="died")}
    assert decide(seen(serving=NEW, running=failed)) == []


@pytest.mark.parametrize(
    "ingresses",
    [
        [],  # none has been heard of
        [on("new"), on("old")],  # one has not moved
        [on("new", old=1)],  # one still answers by the old release
        [on("new", old=0, new=3)],  # one may still be asked for it
        [on(None)],
    ],
)
def test_old_parts_stay_while_anybody_may_need_them(ingresses: list[Ingress]) -> None:
    assert decide(seen(serving=NEW, running=running(OLD, NEW), ingresses=ingresses)) == []


def test_old_parts_end_when_all_have_moved_and_answered() -> None:
    ingresses = [on("new", new=3), on("new")]
    assert decide(seen(serving=NEW, running=running(OLD, NEW), ingresses=ingresses)) == [End(parts=("a-0",))]


def test_a_second_release_is_started_beside_the_one_that_serves_and_kept() -> None:
    on_new = {"wanted": NEW, "serving": NEW, "ingresses": [on("new", new=1)]}
    assert decide(seen(**on_new, running=running(NEW), beside=OLD)) == [Start(plan=OLD, parts=OLD.parts[1:])]
    both = running(OLD, NEW)
    assert decide(seen(**on_new, running=both, beside=OLD)) == []
    assert decide(seen(**{**on_new, "ingresses": [on("new", new=1, old=2)]}, running=both, beside=OLD)) == []


def test_a_second_release_that_is_not_wanted_any_more_ends_when_no_ingress_may_be_asked_for_it() -> None:
    both = running(OLD, NEW)
    assert decide(seen(serving=NEW, running=both, ingresses=[on("new", new=0, old=0)])) == []
    assert decide(seen(serving=NEW, running=both, ingresses=[on("new", new=0)])) == [End(parts=("a-0",))]


def test_a_second_release_that_does_not_fit_or_fails_is_given_up_and_what_serves_stays() -> None:
    standing = seen(serving=NEW, running=running(NEW), ingresses=[on("new")], beside=OLD, nodes=[node(cpus=0)])
    (refused,) = decide(standing)
    assert isinstance(refused, Refuse)
    assert (refused.plan, "both releases do not fit at once" in refused.reason) == (OLD, True)
    failed = {**running(NEW), "a-0": Running(state=State.FAILED, replicas=1, reason="out of memory")}
    assert decide(dataclasses.replace(standing, running=failed)) == [
        Refuse(plan=OLD, reason="out of memory"),
        End(parts=("a-0",)),
    ]


def test_what_is_wanted_comes_before_what_is_beside() -> None:
    third = plan("third", "c-0")
    assert decide(seen(beside=third)) == [Start(plan=NEW, parts=NEW.parts[1:])]
    assert decide(seen(running=running(OLD, NEW), beside=third)) == [Activate(plan=NEW)]


def test_replicas_follow_the_settings_and_the_embedder_its_load() -> None:
    more = plan("new", "b-0", "b-1", replicas=3)
    standing = running(NEW, embedder=Running(state=READY, replicas=5))
    assert decide(seen(wanted=more, serving=NEW, running=standing)) == [
        Resize(part="b-0", replicas=3),
        Resize(part="b-1", replicas=3),
    ]


def test_looked_at_again_and_again_it_ends_at_the_wanted_plan() -> None:
    now, steps = seen(), []
    for _ in range(10):
        actions = decide(now)
        if not actions:
            break
        for action in actions:
            steps.append(type(action).__name__)
            match action:
                case Start(plan=NEW, parts=parts):
                    found = {one.name: Running(state=READY, replicas=one.replicas) for one in parts}
                    now = dataclasses.replace(now, running={**now.running, **found})
                case Activate(plan=activated):
                    now = dataclasses.replace(now, serving=activated, ingresses=[on(activated.name)])
                case End(parts=names):
                    left = {name: one for name, one in now.running.items() if name not in names}
                    now = dataclasses.replace(now, running=left)
    assert steps == ["Start", "Activate", "End"]
    assert set(now.running) == {one.name for one in NEW.parts}


@pytest.mark.parametrize(
    ("parts", "nodes", "fits"),
    [
        ([part("a", replicas=2)], [node(cpus=2)], True),
        ([part("a", replicas=2)], [node(cpus=1.5)], False),
        ([part("a", replicas=2, spread=True)], [node()], False),
        ([part("a", replicas=2, spread=True)], [node(), node()], True),
        ([part("a", replicas=2, spread=True), part("b", replicas=2, spread=True)], [node(cpus=2), node(cpus=2)], True),
        ([part("a", memory_bytes=9 * GIB)], [node()], False),
        ([part("a", memory_bytes=9 * GIB)], [node(memory_bytes=math.inf)], True),
        ([part("a", gpus=0.5), part("b", gpus=0.5), part("c", gpus=0.5)], [node(gpus=1)], False),
        ([part("a", gpus=0.5), part("b", gpus=0.5), part("c", gpus=0.5)], [node(gpus=1), node(gpus=1)], True),
        ([part("small", gpus=0.5), part("large", gpus=1.0)], [node(gpus=1), node(gpus=0.5)], True),
        # the fuller card first, though its node has more CPUs: the whole card stays for the small ones
        (
            [part("a", gpus=0.5), part("b", gpus=0.3, replicas=3)],
            [node(gpus=1, cpus=4), node(gpus=0.5, cpus=8)],
            True,
        ),
        ([], [], True),
        ([part("a")], [], False),
    ],
)
def test_fit(parts: list[Part], nodes: list[Node], fits: bool) -> None:
    assert (misfit(parts, nodes) is None) == fits


def test_a_misfit_says_what_is_missing_and_what_there_is() -> None:
    reason = misfit([part("a", replicas=2, spread=True, gpus=0.5)], [node(gpus=1)])
    assert reason is not None
    assert "copy 2 of 2 of a" in reason
    assert "each copy on a node of its own" in reason
    assert "1 CPUs, 0.5 GPUs and 1.00 GiB" in reason


def slow_misfit(parts: list[Part], nodes: list[Node]) -> bool:
    """The obvious twin: copy by copy, the fullest node with room, ties by its number."""
    free = [[one.gpus, one.cpus, one.memory_bytes] for one in nodes]
    for one in sorted(parts, key=lambda one: (one.gpus, one.memory_bytes, one.cpus), reverse=True):
        taken: set[int] = set()
        for _ in range(one.replicas):
            need = (one.gpus, one.cpus, one.memory_bytes)
            fitting = [
                (have[0], have[1], number)
                for number, have in enumerate(free)
                if number not in taken and all(h + 1e-9 >= w for h, w in zip(have, need, strict=True))
            ]
            if not fitting:
                return True
            place = min(fitting)[2]
            free[place] = [have - want for have, want in zip(free[place], need, strict=True)]
            if one.spread:
                taken.add(place)
    return False


@pytest.mark.parametrize("seed", range(60))
def test_fit_is_what_the_slow_twin_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    nodes = [
        node(
            cpus=int(random.integers(1, 9)),
            gpus=int(random.integers(0, 2)),
            memory_bytes=int(random.integers(1, 9)) * GIB,
        )
        for _ in range(random.integers(1, 12))
    ]
    parts = [
        part(
            f"p{number}",
            replicas=int(random.integers(1, 4)),
            cpus=float(random.choice([0.1, 0.5, 1.0, 2.0])),
            gpus=float(random.choice([0.0, 0.25, 0.5])),
            memory_bytes=int(random.integers(1, 3)) * GIB // 2,
            spread=bool(random.integers(2)),
        )
        for number in range(random.integers(1, 10))
    ]
    assert (misfit(parts, nodes) is not None) == slow_misfit(parts, nodes)


def test_a_thousand_shards_are_placed_on_a_thousand_nodes() -> None:
    shards = [part(f"shard-{number}", replicas=2, gpus=0.5, spread=True) for number in range(1_000)]
    assert misfit(shards, [node(gpus=1)] * 1_000) is None
    assert misfit(shards, [node(gpus=1)] * 999) is not None
