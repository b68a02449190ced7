"""What a detector is worth: the verdict that decides a release's default, and the measurement that counts."""

from typing import Any

import pytest

from visnet.platform.detector_manifest import DetectorManifest, detector_directory
from visnet.platform.errors import NotFoundError
from visnet.platform.localisation import (
    CHOSEN,
    DETECTED,
    NARROWED,
    TRUE_BOX,
    WAYS,
    WHOLE,
    Asked,
    LocalisationManifest,
    Reached,
    Weighed,
    for_release,
    localisation_directory,
    newest_localisation,
    summary,
)
from visnet.platform.manifest import read_manifest, write_manifest
from visnet.platform.metrics import Interval
from visnet.platform.store import Store


def asked(whole: float, items: float) -> Asked:
    """Recall at 1 says the opposite of recall at 10, which decides."""
    curves = {WHOLE: {"1": items, "10": whole}, DETECTED: {"1": 0.0, "10": 0.0}, NARROWED: {"1": whole, "10": items}}
    return Asked(
        queries=10,
        about="photos",
        located={"items found": 10},
        ways={way: Reached(recall_at_k=curve) for way, curve in curves.items()},
        weights={"0.1": Weighed(recall_at_k={"10": items}, gained=1, lost=2)},
    )


def manifest(name: str = "fcos-1-a", *, whole: float = 0.5, items: float = 0.6, **fields: Any) -> LocalisationManifest:
    return LocalisationManifest(
        localisation=name,
        detector_digest="d",
        encoder_digest="e",
        catalog="shop-1",
        gallery=100,
        precision={"scenes": {"ap50": 0.5}},
        asked={"photos": asked(whole, items), "b": asked(1.0, 0.0), "a": asked(1.0, 0.0)},
        settings={"seed": 0},
        command="visnet detector eval",
        **({"detector": "fcos-1", "encoder": "visnet-1"} | fields),
    )


@pytest.mark.parametrize(("whole", "items", "helps"), [(0.5, 0.6, True), (0.5, 0.5, True), (0.5, 0.4999, False)])
def test_it_helps_if_it_is_no_worse_at_the_deciding_k(whole: float, items: float, helps: bool) -> None:
    assert manifest(whole=whole, items=items).helps is helps


def test_the_first_kind_of_queries_decides_after_reading_too(store: Store) -> None:
    made = manifest()
    write_manifest(store, localisation_directory(made.localisation), made)
    read = read_manifest(store, localisation_directory(made.localisation), LocalisationManifest)
    assert read == made
    assert list(read.asked) == ["photos", "b", "a"]
    assert read.helps


def test_intervals_survive_writing_and_reading(store: Store) -> None:
    against = {"10": Interval(difference=0.1, low=-0.1, high=0.3)}
    made = manifest()
    made.asked["photos"].ways[DETECTED] = Reached(recall_at_k={"10": 0.1}, against_whole=against)
    write_manifest(store, localisation_directory("x"), made)
    assert read_manifest(store, localisation_directory("x"), LocalisationManifest) == made


def test_the_newest_of_a_detector_with_an_encoder(store: Store) -> None:
    others: dict[str, Any] = {"encoder": "visnet-2", "created_at": "2026-04-01"}
    for made in (
        manifest("fcos-1-b", created_at="2026-02-01"),
        manifest("fcos-1-a", created_at="2026-03-01"),
        manifest("fcos-1-c", created_at="2026-01-01"),
        manifest("fcos-1-d", **others),
        manifest("fcos-12-a", detector="fcos-12", created_at="2026-05-01"),
    ):
        write_manifest(store, localisation_directory(made.localisation), made)
    store.write("localisations/fcos-1-z/report.html", b"not finished")
    newest = newest_localisation(store, "fcos-1", "visnet-1")
    assert newest is not None
    assert newest.localisation == "fcos-1-a"
    assert newest_localisation(store, "fcos-1", "visnet-3") is None
    assert newest_localisation(store, "fcos-2", "visnet-1") is None


def test_a_release_keeps_what_decided() -> None:
    made = manifest(whole=0.9, items=0.6)
    kept = summary(made)
    assert (kept["localisation"], kept["queries"], kept["helps"]) == ("fcos-1-a", "photos", False)
    assert kept["recall_at_k"][NARROWED] == {"1": 0.9, "10": 0.6}
    assert list(kept["recall_at_k"]) == [WHOLE, DETECTED, NARROWED]


def test_every_way_has_its_meaning() -> None:
    assert list(WAYS) == [WHOLE, DETECTED, NARROWED, CHOSEN, TRUE_BOX]


def detectors(store: Store, *names: str, catalog: str = "shop") -> None:
    for name in names:
        made = DetectorManifest(detector=name, digest="d", recipe={}, classes=[], catalog=catalog, min_confidence=0.5)
        write_manifest(store, detector_directory(name), made)


def released(store: Store, **options: Any) -> tuple[str, bool] | None:
    wanted: dict[str, Any] = {"catalog": "shop", "encoder": "visnet-1", "detector": None, "by_default": None, **options}
    located = for_release(store, **wanted)
    return (located.detector, located.by_default) if located is not None else None


def test_a_release_takes_the_newest_detector_of_its_catalogue_or_the_one_that_is_named(store: Store) -> None:
    assert released(store) is None
    detectors(store, "fcos-1", "fcos-2")
    detectors(store, "fcos-3", catalog="other")
    assert released(store) == ("fcos-2", True)  # nothing was measured
    assert released(store, detector="fcos-1") == ("fcos-1", True)
    with pytest.raises(NotFoundError, match=r"no detector fcos-9 .*there is: fcos-1, fcos-2, fcos-3"):
        released(store, detector="fcos-9")


@pytest.mark.parametrize(("items", "helps"), [(0.6, True), (0.4, False)])
def test_what_was_measured_decides_unless_it_is_said(store: Store, items: float, helps: bool) -> None:
    detectors(store, "fcos-1")
    made = manifest(items=items)
    write_manifest(store, localisation_directory(made.localisation), made)
    assert released(store) == ("fcos-1", helps)
    assert released(store, encoder="another") == ("fcos-1", True)  # measured with this encoder, not with that one
    for said in (True, False):
        assert released(store, by_default=said) == ("fcos-1", said)
    located = for_release(store, catalog="shop", encoder="visnet-1", detector=None, by_default=None)
    assert located is not None
    assert located.measured == summary(made)
