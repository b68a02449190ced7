"""The training loop, alone: it learns, it checkpoints, it goes on where it was."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from visnet.platform.encoder import Encoder
from visnet.platform.errors import VisnetError
from visnet.platform.networks import make_recipe
from visnet.platform.settings import TrainSettings
from visnet.train.loop import Batch, State, train

SETTINGS = TrainSettings(batch_size=16, steps=12, warmup_steps=2, checkpoint_every_steps=4, learning_rate=1e-2)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_recipe("visnet-tiny", width=4, dimension=16))


def epoch_batches(epoch: int, *, batches: int = 3) -> Iterator[Batch]:
    random = np.random.default_rng(epoch)
    for number in range(batches):
        pixels = np.zeros((16, 3, 32, 32), np.uint8)
        for row in range(16):  # a bright rectangle of its own on black
            top, left = random.integers(2, 12, 2)
            pixels[row, :, top : top + 14, left : left + 10] = random.integers(60, 255, (3, 1, 1))
        products = torch.arange(16) + 16 * number
        yield Batch(torch.from_numpy(pixels), products, products % 2)


def run(settings: TrainSettings, state: State | None = None) -> tuple[State, list[int]]:
    made = encoder()
    checkpoints: list[int] = []
    state = train(
        made,
        made.network,
        epoch_batches,
        settings,
        state=state or State(),
        checkpoint=lambda reached: checkpoints.append(reached.step),
    )
    return state, checkpoints


def test_the_loss_falls() -> None:
    state, _ = run(dataclasses.replace(SETTINGS, steps=60, checkpoint_every_steps=6))
    losses = [entry["loss"] for entry in state.history]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_checkpoints_come_on_time_and_at_the_end() -> None:
    state, checkpoints = run(dataclasses.replace(SETTINGS, steps=10))
    assert checkpoints == [4, 8, 10]
    assert state.step == 10
    assert [entry["step"] for entry in state.history] == [4, 8, 10]


def test_goes_on_from_a_checkpoint() -> None:
    saved: list[State] = []
    first = encoder()

    def keep_then_die(state: State) -> None:
        weights = {name: tensor.clone() for name, tensor in state.weights.items()}
        saved.append(State(**{**vars(state), "weights": weights, "history": list(state.history)}))
        if state.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(first, first.network, epoch_batches, SETTINGS, state=State(), checkpoint=keep_then_die)

    state, checkpoints = run(SETTINGS, saved[-1])
    assert checkpoints == [12]
    assert [entry["step"] for entry in state.history] == [4, 8, 12]


def test_the_same_seed_gives_the_same_weights() -> None:
    once, again = run(SETTINGS)[0], run(SETTINGS)[0]
    for name, tensor in once.weights.items():
        torch.testing.assert_close(tensor, again.weights[name], rtol=0, atol=0, msg=name)


def test_an_epoch_without_batches_is_an_error_that_names_the_setting() -> None:
    made = encoder()
    with pytest.raises(VisnetError, match=r"train\.batch_size"):
        train(made, made.network, lambda _epoch: iter(()), SETTINGS, state=State(), checkpoint=lambda _state: None)


def test_a_loss_that_is_no_number_is_an_error() -> None:
    made = encoder()
    with torch.no_grad():
        next(made.network.parameters()).fill_(float("nan"))
    with pytest.raises(VisnetError, match="learning_rate"):
        train(made, made.network, epoch_batches, SETTINGS, state=State(), checkpoint=lambda _state: None)


def test_the_photo_recipe_trains_by_the_same_loop() -> None:
    recipe = make_recipe("visnet", trunk="resnet18", image_size=64, resize=64, dimension=16, pretrained=False)
    torch.manual_seed(0)
    made = Encoder(recipe)
    before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}

    def batches(_epoch: int) -> Iterator[Batch]:
        pixels = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8)
        yield Batch(pixels, torch.arange(4), torch.arange(4) % 2)

    settings = dataclasses.replace(SETTINGS, batch_size=4, steps=1)
    state = train(made, made.network, batches, settings, state=State(), checkpoint=lambda _state: None)

    assert state.step == 1
    assert any(not torch.equal(before[name], tensor) for name, tensor in made.network.state_dict().items())
