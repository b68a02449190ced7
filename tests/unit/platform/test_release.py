"""Releases: gates before promotion, force on record, and rollbacks that find the way back however often."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.release_pieces import DIGEST, DIRECTORIES, detector, light_detectors, pieces, release
from visnet.platform import release as release_module
from visnet.platform.errors import GateError, NotFoundError, StoreError
from visnet.platform.manifest import digest_of
from visnet.platform.release import (
    Localisation,
    ReleaseManifest,
    create_release,
    current_release,
    history,
    list_releases,
    promote,
    read_release,
    rollback,
)
from visnet.platform.store import Store


@pytest.fixture
def ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    light_detectors(monkeypatch)
    pieces(store)
    return store


def test_a_release_ties_the_pieces(ready: Store) -> None:
    evaluation = {"queries_digest": "q", "recall_at_k": {"10": 0.9}}
    made = create_release(ready, index="x", recommendations="r", evaluation=evaluation)
    assert read_release(ready, made.release) == made
    assert (made.encoder, made.encoder_digest, made.index, made.recommendations) == ("e", DIGEST, "x", "r")
    assert (made.catalog, made.catalog_version, made.evaluation) == ("shop", "v1", evaluation)
    assert [(gate.name, gate.passed) for gate in made.gates] == [
        ("one encoder", True),
        ("one index", True),
        ("counts", True),
        ("files", True),
        ("ann_recall_at_k", True),
    ]
    assert create_release(ready, index="x", recommendations="r", evaluation=evaluation) == made
    other = create_release(ready, index="x", recommendations="r", evaluation={})
    assert [known.release for known in list_releases(ready)] == [made.release, other.release]


def test_force_is_recorded_only_where_it_was_needed(ready: Store) -> None:
    first, worse = release(ready, 0.9), release(ready, 0.5)
    promote(ready, first, force=True)
    promote(ready, worse, force=True)
    assert [change.action for change in history(ready)] == ["promote", "promote --force"]


@pytest.mark.parametrize("missing", ["encoder", "index", "recommendations"])
def test_a_missing_piece_makes_no_release(ready: Store, missing: str) -> None:
    ready.delete_directory(DIRECTORIES[missing])
    with pytest.raises((NotFoundError, StoreError)):
        create_release(ready, index="x", recommendations="r", evaluation={})
    assert list_releases(ready) == []


@pytest.mark.parametrize(
    ("before", "after", "tolerance", "passes"),
    [
        (0.90, 0.95, 0.02, True),
        (0.90, 0.90, 0.0, True),
        (0.92, 0.90, 0.02, True),  # just the tolerance, which floats overstep
        (0.90, 0.8799, 0.02, False),
        (0.90, 0.89, 0.0, False),
    ],
)
def test_not_worse_than_the_current_one(
    ready: Store, before: float, after: float, tolerance: float, passes: bool
) -> None:
    promote(ready, release(ready, before))
    candidate = release(ready, after)
    if passes:
        promote(ready, candidate, tolerance=tolerance)
    else:
        with pytest.raises(GateError, match=rf"not worse: recall@10 {after:.3f} against {before:.3f}"):
            promote(ready, candidate, tolerance=tolerance)
    assert (current_release(ready).release == candidate) == passes


def test_every_shared_recall_counts(ready: Store) -> None:
    promote(ready, release(ready, **{"1": 0.6, "10": 0.9, "50": 0.99}))
    with pytest.raises(GateError, match=r"recall@1 0\.500 against 0\.600"):
        promote(ready, release(ready, **{"1": 0.5, "10": 0.95, "20": 0.97}))
    promote(ready, release(ready, **{"1": 0.6, "10": 0.95, "20": 0.97}))
    with pytest.raises(GateError, match="shares no recall"):
        promote(ready, release(ready, **{"5": 0.9}))


def test_the_same_encoder_needs_no_comparison(ready: Store) -> None:
    promote(ready, release(ready))
    promote(ready, release(ready, 0.9))
    promote(ready, release(ready, 0.1, queries="harder"))
    promote(ready, release(ready))


def test_promotions_at_the_same_moment_lose_nothing(ready: Store) -> None:
    names = [release(ready, 0.9 + number / 1000) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: promote(ready, name), names))
    assert sorted(change.release for change in history(ready)) == sorted(names)


def test_rollbacks_go_back_one_promotion_each(ready: Store) -> None:
    a, b, c, d = (release(ready, recall) for recall in (0.90, 0.91, 0.92, 0.93))
    for name in (a, b, c):
        promote(ready, name)
    assert [rollback(ready), rollback(ready)] == [b, a]
    with pytest.raises(NotFoundError, match="no earlier release to roll back to"):
        rollback(ready)
    promote(ready, d)
    assert rollback(ready) == a
    promote(ready, c)
    promote(ready, c)  # twice is once
    promote(ready, b, tolerance=1)
    assert [rollback(ready), rollback(ready)] == [c, a]
    actions = [change.action for change in history(ready)]
    assert actions == ["promote"] * 3 + ["rollback"] * 2 + ["promote", "rollback"] + ["promote"] * 3 + ["rollback"] * 2
    assert current_release(ready).release == a


def test_a_release_may_come_back_and_be_rolled_back_again(ready: Store) -> None:
    a, b = release(ready, 0.9), release(ready, 0.91)
    for name in (a, b, a):
        promote(ready, name)
    assert [rollback(ready), rollback(ready)] == [b, a]


def test_a_forced_release_is_rolled_back_like_any_other(ready: Store) -> None:
    good, bad = release(ready, 0.9), release(ready, 0.1)
    promote(ready, good)
    promote(ready, bad, force=True)
    assert rollback(ready) == good


def test_without_a_promotion_there_is_no_current_release(ready: Store) -> None:
    with pytest.raises(NotFoundError, match="has no current release: visnet release create, then promote it"):
        current_release(ready)
    with pytest.raises(NotFoundError, match="no earlier release"):
        rollback(ready)
    name = release(ready)
    with pytest.raises(NotFoundError, match=rf"no release r-0 in .*there is: {name}"):
        promote(ready, "r-0")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_promoting_leaves_the_old_release_current(
    ready: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first, second = release(ready, 0.9), release(ready, 0.91)
    promote(ready, first)

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, crash)
        with pytest.raises(OSError, match="power cut"):
            promote(ready, second)
    assert current_release(ready).release == first
    assert len(history(ready)) == 1
    promote(ready, second)
    assert rollback(ready) == first


def test_the_alias_is_replaced_in_one_piece(ready: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a reader looks, the file is whole: the old one right up to the replacement."""
    names = [release(ready, recall) for recall in (0.90, 0.91)]
    promote(ready, names[0])
    seen, replace = [], os.replace

    def look_and_replace(source: str, target: str) -> None:
        seen.append(json.loads(ready.read(release_module.CURRENT))["release"])
        replace(source, target)

    monkeypatch.setattr(os, "replace", look_and_replace)
    promote(ready, names[1])
    assert seen == [names[0]]
    assert json.loads(ready.read(release_module.CURRENT))["release"] == names[1]


def test_a_release_that_was_made_is_not_made_differently_later(ready: Store) -> None:
    made: ReleaseManifest = read_release(ready, release(ready, 0.9))
    pieces(ready, index={"rows": 8})
    assert read_release(ready, release(ready, 0.9)) == made


def localised(store: Store, *, seed: int = 0, by_default: bool = True, **measured: float) -> ReleaseManifest:
    """Another release for every detector, measurement and default."""
    found_by = Localisation(detector=detector(store, seed=seed).detector, measured=measured, by_default=by_default)
    return create_release(store, index="x", recommendations="r", evaluation={}, localisation=found_by)


def test_a_release_may_have_a_detector(ready: Store) -> None:
    made = localised(ready, recall=0.75)
    own = detector(ready)
    assert read_release(ready, made.release) == made
    assert (made.detector, made.detector_digest) == (own.detector, own.digest)
    assert (made.detect_by_default, made.localisation) == (True, {"recall": 0.75})
    assert [gate.name for gate in made.gates] == [
        "one encoder", "one index", "counts", "files", "ann_recall_at_k", "detector",
    ]  # fmt: skip
    assert all(gate.passed for gate in made.gates)
    assert made.gates[-1].detail == f"{own.detector}, 3 categories"


def test_a_detector_and_what_is_known_of_it_make_another_release(ready: Store) -> None:
    plain = create_release(ready, index="x", recommendations="r", evaluation={})
    made = [
        plain, localised(ready, recall=0.75), localised(ready, recall=0.8), localised(ready, seed=1, recall=0.75),
        localised(ready, recall=0.75, by_default=False),
    ]  # fmt: skip
    assert len({one.release for one in made}) == 5
    assert localised(ready, recall=0.75) == made[1]
    assert plain.release == f"r-{digest_of('x', 'r', {})}"  # as it was before there were detectors
    assert (plain.detector, plain.detector_digest, plain.detect_by_default, plain.localisation) == (None, "", False, {})


def test_a_release_of_before_there_were_detectors_is_still_read(ready: Store) -> None:
    made = create_release(ready, index="x", recommendations="r", evaluation={})
    name = f"releases/{made.release}/manifest.json"
    content = json.loads(ready.read(name))
    for field in ("detector", "detector_digest", "detect_by_default", "localisation"):
        del content[field]
    ready.write(name, json.dumps(content).encode())
    assert read_release(ready, made.release) == made
    promote(ready, made.release)
    assert current_release(ready).detector is None


def test_a_missing_detector_makes_no_release(ready: Store) -> None:
    with pytest.raises(NotFoundError, match=r"no detector nobody .*make one with visnet detector train"):
        create_release(
            ready, index="x", recommendations="r", evaluation={},
            localisation=Localisation(detector="nobody", measured={}, by_default=False),
        )  # fmt: skip
    assert list_releases(ready) == []


def test_promotions_and_rollbacks_bring_the_detector_along(ready: Store) -> None:
    plain, first, second = release(ready), localised(ready), localised(ready, seed=1, by_default=False)
    for name in (plain, first.release, second.release):
        promote(ready, name)
    assert current_release(ready) == second
    assert rollback(ready) == first.release
    assert current_release(ready) == first
    assert rollback(ready) == plain
    assert current_release(ready).detector is None
