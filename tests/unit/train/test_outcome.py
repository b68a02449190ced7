"""What is kept of a run, and how a finished one is found again."""

import dataclasses

import pytest

from visnet.platform.manifest import Manifest, read_manifest, write_manifest
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.outcome import curves, event_files, forget, made_before, metrics
from visnet.train.run import PLACE, decisive
from visnet.train.state import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made(Manifest):
    name: str
    training_key: str


def manifest(store: Store, name: str) -> Made:
    return read_manifest(store, f"things/{name}", Made)


def test_the_artifact_of_a_run_is_found_by_its_key(store: Store) -> None:
    assert made_before(store, "things", manifest, "second") is None
    for name, key in (("a", "first"), ("b", "second")):
        write_manifest(store, f"things/{name}", Made(name=name, training_key=key))
    store.write("things/c/weights", b"no manifest: it was not finished")
    found = made_before(store, "things", manifest, "second")
    assert found is not None
    assert found.name == "b"
    assert made_before(store, "things", manifest, "third") is None


def test_curves_are_kept_and_the_rest_of_a_run_is_forgotten(store: Store) -> None:
    assert event_files(store, "mine") == {}
    store.write(f"{curves('mine')}/events.1", b"points")
    store.write("training/mine/checkpoint_1/state.pt", b"weights")
    store.write("training/other/checkpoint_1/state.pt", b"weights")
    assert event_files(store, "mine") == {"tensorboard/events.1": b"points"}
    forget(store, "mine")
    assert store.names("training") == ["other"]


def test_metrics_go_by_the_tasks_names() -> None:
    settings = TrainSettings(batch_size=8)
    state = State(step=50, best_step=40, best_score=0.123456, validations=[{"step": 40, "precision": 0.12346}])
    made = metrics(state, settings, 20.04, unit="photos", best="best_precision")
    assert (made["seconds"], made["steps"], made["photos"], made["photos_per_s"]) == (20.0, 50, 400, 20.0)
    assert (made["best_step"], made["best_precision"]) == (40, 0.12346)

    made = metrics(State(step=50, best_step=0), settings, 20.0, unit="photos", best="best_precision")
    assert (made["best_step"], made["best_precision"]) == (50, None)


@pytest.mark.parametrize(("change", "same"), [({"workers": 7}, True), ({"seed": 7}, False), ({"steps": 7}, False)])
def test_where_a_run_takes_place_does_not_name_it(change: dict[str, int], same: bool) -> None:
    settings = TrainSettings()
    assert (decisive(dataclasses.replace(settings, **change)) == decisive(settings)) == same  # type: ignore[arg-type]
    assert not set(PLACE) & set(decisive(settings))
    assert set(PLACE) <= {field.name for field in dataclasses.fields(settings)}
