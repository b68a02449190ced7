"""What is kept of a finished run beside its weights, and whether a run was made before.

While a run goes on, its checkpoints and curves lie in the store in a folder of its key. What comes of it is written as
an artifact of its kind, whose manifest has the key too; then the folder is of no more use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from visnet.platform.manifest import finished
from visnet.platform.settings_train import JobSettings
from visnet.platform.store import Store
from visnet.train.state import State

RUNS = "training"
"""The folder of the runs that have not led to an artifact yet."""


class Trained(Protocol):
    """The manifest of an artifact that was trained."""

    @property
    def training_key(self) -> str: ...


M = TypeVar("M", bound=Trained)


def made_before(store: Store, kind: str, manifest: Callable[[Store, str], M], key: str) -> M | None:
    """The manifest of the artifact that a run of this key made, if there is one.

    Args:
        kind: the folder of such artifacts, "encoders".
        manifest: reads the manifest of one by its name.
    """
    manifests = (manifest(store, name) for name in finished(store, kind))
    return next((known for known in manifests if known.training_key == key), None)


def curves(key: str) -> str:
    """The folder of a run's event files (see `scalars.py`)."""
    return f"{RUNS}/{key}/tensorboard"


def event_files(store: Store, key: str) -> dict[str, bytes]:
    """A run's event files, by the names that they are kept by beside the artifact."""
    return {f"tensorboard/{name}": store.read(f"{curves(key)}/{name}") for name in store.names(curves(key))}


def forget(store: Store, key: str) -> None:
    """Delete a run's checkpoints and curves: they have led to an artifact."""
    store.delete_directory(f"{RUNS}/{key}")


def metrics(state: State, settings: JobSettings, seconds: float, *, unit: str, best: str) -> dict[str, Any]:
    """What `metrics.json` of the artifact says.

    Args:
        seconds: that the run took.
        unit: what the examples of a batch are called: "anchors".
        best: the name by which the best validation's score goes; its value is None if nothing was validated.
    """
    examples = state.step * settings.batch_size
    return {
        "seconds": round(seconds, 1),
        "steps": state.step,
        unit: examples,
        f"{unit}_per_s": round(examples / seconds, 1),
        "worlds": state.worlds,
        "ended_early": state.ended_early,
        "best_step": state.best_step if state.validations else state.step,
        best: round(state.best_score, 5) if state.validations else None,
        "history": state.history,
        "validations": state.validations,
    }
