"""Who may use how much of a pool: by priority, whole or not at all, and what always holds."""

from __future__ import annotations

import dataclasses
import time

import pytest

from visnet.platform.admission import PRIORITY, Answer, Claim, affordable, decide
from visnet.platform.placement import Node


def claim(name: str, kind: str = "train", *, gpus: float = 1.0, cpus: float = 1.0, **changes: object) -> Claim:
    """One that wants exactly one copy, unless told otherwise."""
    made = Claim(id=name, kind=kind, pool="work", least=1, most=1, cpus=cpus, gpus=gpus)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def embed(name: str = "pass", *, most: int = 4, holds: int = 0, **changes: object) -> Claim:
    return claim(name, "embed", most=most, holds=holds, shrinks=True, **changes)  # type: ignore[arg-type]


def nodes(count: int, *, cpus: float = 8, gpus: float = 1) -> list[Node]:
    return [Node(cpus=cpus, gpus=gpus, memory_bytes=0.0)] * count


def copies(answers: dict[str, Answer]) -> dict[str, int]:
    return {name: answer.copies for name, answer in answers.items()}


def test_nobody_asks_and_nobody_is_answered() -> None:
    assert decide([], nodes(4)) == {}


def test_alone_a_job_gets_the_most_that_it_can_use() -> None:
    assert decide([claim("a", least=2, most=3)], nodes(4)) == {"a": Answer(copies=3)}


def test_alone_a_job_gets_what_there_is() -> None:
    assert copies(decide([claim("a", least=2, most=9)], nodes(4))) == {"a": 4}


def test_a_job_waits_rather_than_to_start_with_less_than_its_least() -> None:
    answers = decide([claim("a", least=2, most=2, holds=2), claim("b", least=3, most=3)], nodes(4))
    assert copies(answers) == {"a": 2, "b": 0}
    assert (
        answers["b"].reason
        == "it waits for 3 x 1 GPU and 1 CPU; of 4 GPUs and 32 CPUs, train a has 2 x 1 GPU and 1 CPU"
    )
    assert not answers["b"].never


def test_who_waits_in_front_is_named_to_those_behind() -> None:
    claims = [claim("a", most=3, holds=3), claim("b", least=2, most=2), claim("c", "embed")]
    answers = decide(claims, nodes(4))
    assert copies(answers) == {"a": 3, "b": 0, "c": 0}  # although c alone would fit
    assert answers["c"].reason == "it waits for 1 x 1 GPU and 1 CPU; before it waits train b"


@pytest.mark.parametrize("kind", ["train", "detector", "recommend", "index", "triplets", "embed"])
def test_the_service_goes_before_every_job(kind: str) -> None:
    assert copies(decide([claim("job", kind), claim("s", "serve")], nodes(1))) == {"s": 1, "job": 0}


def test_every_kind_of_work_has_a_priority_and_an_unknown_one_has_the_lowest() -> None:
    assert claim("x", "something").priority < min(PRIORITY.values())


def test_between_equals_arrival_decides() -> None:
    answers = decide([claim("late-name"), claim("a")], nodes(1))
    assert copies(answers) == {"late-name": 1, "a": 0}
    assert "train late-name starts" in answers["a"].reason


def test_what_never_fits_is_told_so_and_holds_nobody_up() -> None:
    answers = decide([claim("a", least=5, most=5), claim("b", "embed")], nodes(4))
    assert answers["a"].never
    assert answers["a"].reason == (
        "5 x 1 GPU and 1 CPU never fit: there are 4 GPUs and 32 CPUs at most, 1 GPUs and 8 CPUs on a node"
    )
    assert answers["b"] == Answer(copies=1)


def test_a_copy_larger_than_every_node_never_fits_however_many_there_are() -> None:
    assert decide([claim("a", gpus=2)], nodes(4))["a"].never
    assert decide([claim("a", gpus=0, cpus=9)], nodes(4))["a"].never
    assert decide([claim("a")], [])["a"].never


def test_cpus_beside_each_copy_are_counted_over_all_nodes() -> None:
    wide = claim("a", least=2, most=2, cpus=4, beside_cpus=4)
    assert decide([wide], nodes(2))["a"].copies == 2
    wider = dataclasses.replace(wide, beside_cpus=4.5)
    answer = decide([wider], nodes(2))["a"]
    assert answer.never
    assert "2 x 1 GPU and 4 CPUs and 9 CPUs beside them never fit" in answer.reason
    waiting = decide([wide, claim("b", least=2, most=2, gpus=0, beside_cpus=0.5)], nodes(2))["b"]
    assert waiting.copies == 0
    assert waiting.reason.startswith("it waits for 2 x 1 CPU, and 1 CPUs beside them; ")


@pytest.mark.parametrize(
    ("sizes", "gpus"),
    [
        ([1, 1, 3, 3], [4, 4]),  # the largest choose first
        ([4, 3, 2], [5, 4]),  # and take the fullest node
        ([0.9, 0.1], [1]),  # 1 - 0.9 is a little less than 0.1
    ],
)
def test_what_fits_is_placed(sizes: list[float], gpus: list[float]) -> None:
    claims = [claim(str(number), gpus=size, cpus=0) for number, size in enumerate(sizes)]
    there = [Node(cpus=0, gpus=count, memory_bytes=0.0) for count in gpus]
    assert set(copies(decide(claims, there)).values()) == {1}


def test_a_copy_that_needs_nothing_always_fits() -> None:
    assert copies(decide([claim("a", gpus=0, cpus=0, most=7)], nodes(1))) == {"a": 7}


def test_a_running_pass_is_asked_to_shrink_and_the_other_waits_until_it_has() -> None:
    waiting = claim("t", least=2, most=2)
    answers = decide([embed(holds=4), waiting], nodes(4))
    assert copies(answers) == {"pass": 2, "t": 0}
    assert answers["t"].reason == (
        "it waits for 2 x 1 GPU and 1 CPU; of 4 GPUs and 32 CPUs, embed pass has 4 x 1 GPU and 1 CPU; "
        "they are asked for it"
    )
    assert copies(decide([embed(holds=3), waiting], nodes(4))) == {"pass": 2, "t": 0}
    assert copies(decide([embed(holds=2), waiting], nodes(4))) == {"pass": 2, "t": 2}


def test_a_pass_keeps_its_least_whoever_waits() -> None:
    answers = decide([embed(holds=4, least=2), claim("s", "serve", least=3, most=3)], nodes(4))
    assert copies(answers) == {"pass": 4, "s": 0}  # it would not help: the pass keeps all that it can use


def test_a_pass_grows_when_there_is_room() -> None:
    assert copies(decide([embed(holds=1, most=9)], nodes(4))) == {"pass": 4}


def test_growth_goes_to_the_higher_priority_first() -> None:
    claims = [embed("low", most=4, holds=1), claim("high", "index", most=4, holds=1, shrinks=True)]
    assert copies(decide(claims, nodes(6))) == {"high": 4, "low": 2}
    assert copies(decide([embed("low"), claim("high", most=3)], nodes(4))) == {"high": 3, "low": 1}


def test_who_cannot_shrink_keeps_what_it_holds_and_takes_no_more() -> None:
    assert copies(decide([claim("a", most=4, holds=2)], nodes(4))) == {"a": 2}
    assert copies(decide([claim("a", most=4, holds=3)], nodes(2))) == {"a": 3}  # a node was lost


def test_nobody_grows_into_what_another_has_still_to_give_back() -> None:
    late = embed("late", holds=1)
    assert copies(decide([late, embed("early", holds=3)], nodes(4))) == {"late": 1, "early": 1}
    assert copies(decide([late, embed("early", holds=1)], nodes(4))) == {"late": 3, "early": 1}


def test_who_fits_at_once_does_not_wait_for_the_room_of_those_behind() -> None:
    claims = [embed(holds=3), claim("first"), claim("second")]
    assert copies(decide(claims, nodes(4))) == {"pass": 2, "first": 1, "second": 0}


def test_several_are_admitted_at_once_and_together_they_fit() -> None:
    claims = [claim("a", least=2, most=4), claim("b", "embed", least=1, most=4), claim("c", "index")]
    assert copies(decide(claims, nodes(4))) == {"a": 2, "b": 1, "c": 1}


def test_a_thousand_nodes_are_shared_out_while_a_job_waits_for_its_answer() -> None:
    claims = [embed("p", most=1_000, holds=700, beside_cpus=1), claim("t", least=64, most=256), embed("q", most=500)]
    started = time.process_time()
    answers = decide(claims, nodes(1_000))
    assert time.process_time() - started < 1.0
    assert copies(answers) == {"p": 743, "t": 256, "q": 1}


@pytest.mark.parametrize(
    ("most", "nodes", "beside"),
    [
        (3, [Node(cpus=3, gpus=1, memory_bytes=0)], 2.0),  # one copy fits, and takes one of the three CPUs
        (3, [Node(cpus=3, gpus=1, memory_bytes=0)] * 2, 2.0),
        (3, [Node(cpus=8, gpus=1, memory_bytes=0)] * 3, 4.0),  # no more than it asked for
        (1, [Node(cpus=1, gpus=1, memory_bytes=0)], 0.0),
        (2, [Node(cpus=9, gpus=0, memory_bytes=0)], 4.0),  # it never fits, whatever is beside it
    ],
)
def test_a_small_pool_has_less_beside_each_copy(most: int, nodes: list[Node], beside: float) -> None:
    wanted = Claim(id="a", kind="embed", pool=None, least=1, most=most, cpus=1, gpus=1, beside_cpus=4.0)
    assert affordable(wanted, nodes) == dataclasses.replace(wanted, beside_cpus=beside)
