"""What holds whatever jobs come and go: a pool of random jobs that ask, hold, shrink, grow and end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from visnet.platform.admission import PRIORITY, Answer, Claim, decide
from visnet.platform.placement import Node

TICKS = 3_000
JOBS = [kind for kind in PRIORITY if kind != "serve"]


def packs(wanted: Sequence[Claim], nodes: Sequence[Node]) -> bool:
    """Whether all that the claims hold can be placed, by trying every way."""
    sizes = sorted(((one.gpus, one.cpus) for one in wanted for _ in range(one.holds)), reverse=True)
    beside = sum(one.beside_cpus * one.holds for one in wanted)
    spare = sum(node.cpus for node in nodes) - sum(cpus for _, cpus in sizes)
    return spare + 1e-9 >= beside and _places(sizes, [(node.gpus, node.cpus) for node in nodes])


def _places(sizes: list[tuple[float, float]], free: list[tuple[float, float]]) -> bool:
    if not sizes:
        return True
    (gpus, cpus), *others = sizes
    for one in set(free):
        if one[0] + 1e-9 >= gpus and one[1] + 1e-9 >= cpus:
            left = free.copy()
            left.remove(one)
            if _places(others, sorted([*left, (one[0] - gpus, one[1] - cpus)])):
                return True
    return False


@dataclasses.dataclass
class Job:
    claim: Claim
    comes: int
    work: int
    """Ticks until it ends; for one that shrinks, ticks of one copy."""
    patience: int
    """It takes a new size at every so-manieth tick."""
    started: int | None = None
    ended: int | None = None


class Pool:
    """Jobs that follow what they are answered, in a random order."""

    def __init__(self, jobs: list[Job], nodes: list[Node], seed: int) -> None:
        self.jobs, self.nodes, self.now = sorted(jobs, key=lambda job: job.comes), nodes, 0
        self._random = np.random.default_rng(seed)

    def here(self) -> list[Job]:
        return [job for job in self.jobs if job.comes <= self.now and job.ended is None]

    def claims(self) -> list[Claim]:
        return [job.claim for job in self.here()]

    def tick(self) -> None:
        for number in self._random.permutation(len(here := self.here())):
            self._ask(here[number])
        for job in here:
            if job.claim.holds:
                job.work -= job.claim.holds if job.claim.shrinks else 1
                job.ended = self.now if job.work <= 0 else None
        self.now += 1

    def _ask(self, job: Job) -> None:
        claims = self.claims()
        answers = decide(claims, self.nodes)
        check(claims, answers, self.nodes)
        answer = answers[job.claim.id]
        if answer.never:
            job.ended = self.now
        elif not job.claim.holds and answer.copies:
            job.started = self.now
            self._take(job, answer)
        elif job.claim.holds and job.claim.shrinks and self.now % job.patience == 0:
            self._take(job, answer)

    def _take(self, job: Job, answer: Answer) -> None:
        job.claim = dataclasses.replace(job.claim, holds=answer.copies)
        assert packs(self.claims(), self.nodes), self.claims()


def check(claims: list[Claim], answers: dict[str, Answer], nodes: list[Node]) -> None:
    assert set(answers) == {one.id for one in claims}
    for one in claims:
        answer = answers[one.id]
        if not one.holds:
            alone = dataclasses.replace(one, holds=one.least)
            assert answer.never == (not packs([alone], nodes))
            assert answer.copies == 0 or one.least <= answer.copies <= one.most
            assert bool(answer.reason) == (answer.copies == 0)
        elif one.shrinks:
            assert one.least <= answer.copies <= one.most
        else:
            assert answer == Answer(copies=one.holds)
    check_order(claims, answers)
    check_reasons(claims, answers)


def check_order(claims: list[Claim], answers: dict[str, Answer]) -> None:
    """Nobody starts while one waits in front of him that could have the pool."""
    ranked = [one for one in sorted(claims, key=lambda one: -one.priority) if not one.holds]
    starts = [bool(answers[one.id].copies) for one in ranked if not answers[one.id].never]
    assert starts == sorted(starts, reverse=True)


def check_reasons(claims: list[Claim], answers: dict[str, Answer]) -> None:
    """Whoever waits is told who holds, or who is before it."""
    holding = [f"{one.kind} {one.id} has {one.holds} x" for one in claims if one.holds]
    before = [f"{one.kind} {one.id}" for one in claims if not one.holds]
    for answer in answers.values():
        if not answer.copies and not answer.never:
            named = [
                one for one in before if f"before it waits {one}" in answer.reason or f"{one} starts" in answer.reason
            ]
            assert named or (holding and all(one in answer.reason for one in holding))


def random_job(random: np.random.Generator, name: str, *, alike: bool) -> Job:
    kind = str(random.choice(JOBS))
    least = int(random.integers(1, 4))
    made = Claim(
        id=name,
        kind=kind,
        pool="work",
        least=least,
        most=least + int(random.integers(3)),
        cpus=1.0 if alike else float(random.choice([0.5, 1.0, 2.0])),
        gpus=1.0 if alike else float(random.choice([0.0, 0.5, 1.0])),
        beside_cpus=0.0 if alike else float(random.choice([0.0, 0.5])),
        shrinks=kind == "embed" or bool(random.integers(4) == 0),
    )
    return Job(
        claim=made,
        comes=int(random.integers(20)),
        work=int(random.integers(1, 12)),
        patience=int(random.integers(1, 4)),
    )


def random_pool(seed: int, *, alike: bool = False) -> Pool:
    random = np.random.default_rng(seed)
    nodes = [
        Node(cpus=float(random.integers(2, 5)), gpus=1.0 if alike else float(random.integers(3)), memory_bytes=0.0)
        for _ in range(random.integers(2, 5))
    ]
    jobs = [random_job(random, f"j{number}", alike=alike) for number in range(random.integers(3, 10))]
    return Pool(jobs, nodes, seed)


@pytest.mark.parametrize("seed", range(80))
def test_every_job_gets_its_turn_and_nobody_more_than_there_is(seed: int) -> None:
    pool = random_pool(seed)
    while any(job.ended is None for job in pool.jobs):
        pool.tick()
        assert pool.now < TICKS, pool.claims()


@pytest.mark.parametrize("seed", range(80))
def test_the_highest_waits_for_those_who_can_not_shrink_and_for_no_others(seed: int) -> None:
    pool = random_pool(seed, alike=True)
    while pool.now < 8:
        pool.tick()
    running = [job for job in pool.here() if job.claim.holds]
    room = len(pool.nodes) - sum(job.claim.least for job in running if job.claim.shrinks)
    if room < 1:
        return
    wanted = Claim(id="high", kind="serve", pool="work", least=room, most=room, cpus=1.0, gpus=1.0)
    high = Job(claim=wanted, comes=pool.now, work=1, patience=1)
    pool.jobs.append(high)
    stuck = [job for job in running if not job.claim.shrinks]
    while any(job.ended is None for job in stuck):
        pool.tick()
    for _ in range(4):  # the others shrink at every third tick or sooner
        pool.tick()
    assert high.started is not None


@pytest.mark.parametrize("seed", range(20))
def test_without_others_a_job_that_can_shrink_has_all_that_it_can_use(seed: int) -> None:
    pool = random_pool(seed, alike=True)
    wanted = dataclasses.replace(pool.jobs[0].claim, id="last", kind="embed", least=1, most=9, shrinks=True)
    last = Job(claim=wanted, comes=0, work=9 * TICKS, patience=1)
    pool.jobs = [job for job in pool.jobs if job.claim.least < len(pool.nodes)]  # beside its least
    pool.jobs.insert(0, last)
    while any(job.ended is None for job in pool.jobs if job is not last):
        pool.tick()
        assert pool.now < TICKS, pool.claims()
    pool.tick()
    assert last.claim.holds == len(pool.nodes)
