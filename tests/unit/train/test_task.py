"""Any task is trained by the same loop: here one whose network gives losses, as a detector's does."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.errors import VisnetError
from visnet.platform.settings_train import JobSettings
from visnet.train.loop import Around, Loop
from visnet.train.state import State
from visnet.train.task import Task

Pairs = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class FindSettings(JobSettings):
    section: ClassVar[str] = "find"


SETTINGS = FindSettings(
    batch_size=4, steps=30, warmup_steps=2, checkpoint_every_steps=5, validate_every_steps=10, learning_rate=0.1
)


class Finder(nn.Module):
    """Pictures and what is in them -> a dict of losses."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(3, 2)

    def forward(self, images: list[Tensor], targets: list[Tensor]) -> dict[str, Tensor]:
        found_B2 = self.place(torch.stack(images))
        return {"place": (found_B2 - torch.stack(targets)).square().mean(), "size": found_B2.abs().mean() * 1e-3}


class FindTask(Task[Pairs]):
    unit = "photos"
    best_by = "precision"
    device = torch.device("cpu")

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.network = Finder()
        self.checked: list[int] = []
        self.autocast: set[bool] = set()

    def loss(
        self, network: Callable[..., Any], batch: Pairs, *, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self.network.training
        handle = self.network.register_forward_hook(
            lambda *_: self.autocast.add(torch.is_autocast_enabled("cpu"))  # type: ignore[arg-type]
        )
        losses = network(*batch)
        handle.remove()
        return sum(losses.values()), {name: loss.detach() for name, loss in losses.items()}  # type: ignore[return-value]

    def check(self, step: int, values: Mapping[str, float]) -> None:
        self.checked.append(step)
        if values["place"] < 0:
            raise VisnetError("impossible")

    def progress(self, values: Mapping[str, float]) -> str:
        return f"place {values['place']:.2f}"


def batches(_epoch: int) -> Iterator[Pairs]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        images = [torch.rand(3, generator=generator) for _ in range(4)]
        yield images, [image[:2] * 2 for image in images]


def run(task: FindTask, settings: JobSettings = SETTINGS, **around: Any) -> State:
    given: dict[str, Any] = {"wrap": lambda network: network, "checkpoint": lambda state: None, "batches": batches}
    return Loop(task, settings, Around(**{**given, **around}), State()).run()


def test_it_learns_and_its_figures_are_kept_under_its_names() -> None:
    task, points = FindTask(), dict[str, list[int]]()

    def scalars(step: int, values: Mapping[str, float]) -> None:
        for name in values:
            points.setdefault(name, []).append(step)

    precisions = iter([0.2, 0.6, 0.5])
    state = run(task, scalars=scalars, validate=lambda: {"recall": 1.0, "precision": next(precisions)})

    losses = [entry["loss"] for entry in state.history]
    assert losses[-1] < 0.5 * losses[0]
    assert state.history[-1]["loss"] == pytest.approx(state.history[-1]["place"] + state.history[-1]["size"], abs=2e-6)
    assert task.checked == points["train/place"] == points["train/photos_per_s"] == [5, 10, 15, 20, 25, 30]
    assert points["validation/precision"] == [10, 20, 30]
    assert (state.best_step, state.best_score) == (20, 0.6)


@pytest.mark.parametrize(("precision", "mixed"), [("float32", False), ("bfloat16", True)])
def test_its_network_is_called_in_the_precision_of_the_settings(precision: Any, mixed: bool) -> None:
    task = FindTask()
    run(task, FindSettings(batch_size=4, steps=2, precision=precision))
    assert task.autocast == {mixed}


def test_its_line_of_progress_has_its_own_words(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visnet.train.clock.LOG_EVERY_S", 0.0)
    with caplog.at_level("INFO", "visnet.train"):
        run(FindTask())
    assert re.search(r"step 30 of 30: loss \d\.\d{4}, place \d\.\d\d, \d+ photos/s, 0 s left", caplog.text)


def test_errors_name_its_own_section_of_the_settings() -> None:
    with pytest.raises(VisnetError, match=r"than find\.batch_size \(4\)"):
        run(FindTask(), batches=lambda _epoch: iter(()))

    task = FindTask()
    with torch.no_grad():
        task.network.place.bias.fill_(float("nan"))
    with pytest.raises(VisnetError, match=r"lower find\.learning_rate"):
        run(task)
    assert task.checked == []  # it is asked about numbers only
