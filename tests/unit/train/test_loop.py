"""The training loop, alone: it learns, it checkpoints, it goes on where it was, it ends where it should."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from visnet.platform.encoder import Encoder
from visnet.platform.errors import VisnetError
from visnet.platform.networks import make_recipe
from visnet.platform.settings import TrainSettings
from visnet.train.batch import Batch, Embedded
from visnet.train.collapse import CollapsedError
from visnet.train.loop import Around, Loop
from visnet.train.losses import InfoNCE, Loss, TripletHinge
from visnet.train.mining import Bank, HardNegatives
from visnet.train.state import State
from visnet.train.triplet_task import TripletTask

SETTINGS = TrainSettings(
    batch_size=16, steps=12, warmup_steps=2, checkpoint_every_steps=4, learning_rate=1e-2, freeze_steps=0
)


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(make_recipe("visnet-tiny", width=4, dimension=16))


def pictures(rows: int, *, seed: int) -> Tensor:
    """A bright rectangle of its own on black each."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((rows, 3, 32, 32), np.uint8)
    for row in range(rows):
        top, left = random.integers(2, 12, 2)
        pixels[row, :, top : top + 14, left : left + 10] = random.integers(60, 255, (3, 1, 1))
    return torch.from_numpy(pixels)


def epoch_batches(epoch: int, *, batches: int = 3) -> Iterator[Batch]:
    for number in range(batches):
        products = torch.arange(16) + 16 * number
        pixels = pictures(16, seed=epoch * 100 + number)
        yield Batch(positive_BCHW=pixels, product_B=products, category_B=products % 2)


def run(
    settings: TrainSettings,
    state: State | None = None,
    *,
    made: Encoder | None = None,
    loss: Loss | None = None,
    negatives: HardNegatives | None = None,
    batches: Callable[[int], Iterator[Batch]] = epoch_batches,
    **around: Any,
) -> tuple[State, list[int]]:
    task = TripletTask(made or encoder(), loss or TripletHinge(), settings, negatives=negatives)
    checkpoints: list[int] = []
    given = {"wrap": lambda network: network, "checkpoint": lambda reached: checkpoints.append(reached.step), **around}
    return Loop(task, settings, Around(batches=batches, **given), state or State()).run(), checkpoints


@pytest.mark.parametrize("loss", [TripletHinge(), TripletHinge(negatives="hardest"), InfoNCE()])
def test_the_loss_falls(loss: Loss) -> None:
    state, _ = run(dataclasses.replace(SETTINGS, steps=60, checkpoint_every_steps=6), loss=loss)
    losses = [entry["loss"] for entry in state.history]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_the_loss_falls_on_triplets_that_bring_their_own_negatives() -> None:
    def triplets(epoch: int) -> Iterator[Batch]:
        for number in range(3):
            numbers = torch.arange(16) + 16 * number
            shop = pictures(32, seed=number)  # the same few products in every epoch
            yield Batch(
                anchor_BCHW=shop[:16],
                positive_BCHW=shop[:16],
                product_B=numbers,
                category_B=numbers % 2,
                negative_MCHW=shop[16:],
                negative_product_M=numbers + 1_000,
                negative_category_M=numbers % 2,
            )

    settings = dataclasses.replace(SETTINGS, steps=60, checkpoint_every_steps=6)
    state, _ = run(settings, batches=triplets, loss=TripletHinge(negatives="own"))
    wrong = [entry["wrong_share"] for entry in state.history]
    assert np.mean(wrong[-3:]) < 0.5 * np.mean(wrong[:3])


def test_checkpoints_come_on_time_and_at_the_end() -> None:
    state, checkpoints = run(dataclasses.replace(SETTINGS, steps=10))
    assert checkpoints == [4, 8, 10]
    assert state.step == 10
    assert [entry["step"] for entry in state.history] == [4, 8, 10]


def test_goes_on_from_a_checkpoint() -> None:
    saved: list[State] = []

    def keep_then_die(state: State) -> None:
        saved.append(copy.deepcopy(state))
        if state.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(SETTINGS, checkpoint=keep_then_die)

    state, checkpoints = run(SETTINGS, saved[-1])
    assert checkpoints == [12]
    assert [entry["step"] for entry in state.history] == [4, 8, 12]


def test_going_on_at_an_epochs_end_gives_what_an_undisturbed_run_gives() -> None:
    settings = dataclasses.replace(SETTINGS, checkpoint_every_steps=3)  # an epoch has three steps
    saved: list[State] = []
    whole, _ = run(settings, checkpoint=lambda state: saved.append(copy.deepcopy(state)))
    middle = saved[1]
    middle.epoch += 1  # what is stored is the epoch that the checkpoint fell into
    resumed, _ = run(settings, middle)
    for name, tensor in whole.weights.items():
        torch.testing.assert_close(tensor, resumed.weights[name], msg=name)


def test_the_same_seed_gives_the_same_weights() -> None:
    once, again = run(SETTINGS)[0], run(SETTINGS)[0]
    for name, tensor in once.weights.items():
        torch.testing.assert_close(tensor, again.weights[name], rtol=0, atol=0, msg=name)


def test_an_epoch_without_batches_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(VisnetError, match=r"train\.batch_size"):
        run(SETTINGS, batches=lambda _epoch: iter(()))


def test_a_loss_that_is_no_number_is_an_error() -> None:
    made = encoder()
    with torch.no_grad():
        next(made.network.parameters()).fill_(float("nan"))
    with pytest.raises(VisnetError, match="learning_rate"):
        run(SETTINGS, made=made)


class Collapsing(nn.Module):
    """A network that was brought to give every picture nearly the same vector, as too high a learning rate does."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3 * 32 * 32, 8)
        with torch.no_grad():
            self.last.weight.mul_(1e-6)
            self.last.bias.fill_(1.0)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return nn.functional.normalize(self.last(image_BCHW.flatten(1)), dim=1)


def collapsing() -> Encoder:
    return Encoder(make_recipe("visnet-tiny"), Collapsing())


FAST = dataclasses.replace(SETTINGS, steps=40, checkpoint_every_steps=2, learning_rate=1e-9, collapse_after=3)


@pytest.mark.parametrize(("loss", "sign"), [(TripletHinge(), "stuck at the margin"), (InfoNCE(), "lie together")])
def test_a_collapse_ends_the_training_with_an_alarm(loss: Loss, sign: str) -> None:
    with pytest.raises(CollapsedError, match=sign) as raised:
        run(FAST, made=collapsing(), loss=loss)
    assert "by step 6" in str(raised.value)  # the third look
    assert "learning_rate" in str(raised.value)


class WithoutNormalisation(nn.Module):
    """Two dense layers, and nothing that keeps the pictures' embeddings apart."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 64), nn.ReLU(), nn.Linear(64, 8))

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return nn.functional.normalize(self.layers(image_BCHW), dim=1)


def test_hardest_negatives_alone_from_scratch_are_the_known_way_into_a_collapse() -> None:
    def fresh() -> Encoder:
        torch.manual_seed(0)
        return Encoder(make_recipe("visnet-tiny"), WithoutNormalisation())

    settings = dataclasses.replace(FAST, steps=300, checkpoint_every_steps=10, learning_rate=3e-3)
    spreads: list[float] = []
    run(settings, made=fresh(), scalars=lambda _step, values: spreads.append(values["train/spread"]))
    assert spreads[-1] > 0.1  # with all negatives the same network trains

    with pytest.raises(CollapsedError, match="less hard negatives"):
        run(settings, made=fresh(), loss=TripletHinge(negatives="hardest"))


def test_a_collapse_only_warns_if_told_so(caplog: pytest.LogCaptureFixture) -> None:
    settings = dataclasses.replace(FAST, collapse_after=0, steps=4)
    state, _ = run(settings, made=collapsing())
    assert state.step == 4
    assert "collapsed" in caplog.text


def test_the_best_weights_by_validation_are_kept_and_training_ends_when_it_gets_no_better() -> None:
    recalls = iter([0.1, 0.5, 0.4, 0.3, 0.45, 0.2])
    seen: list[dict[str, Tensor]] = []
    made = encoder()

    def validate() -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in made.network.state_dict().items()})
        return {"recall_at_1": next(recalls)}

    settings = dataclasses.replace(SETTINGS, steps=100, validate_every_steps=2, patience=3)
    state, checkpoints = run(settings, made=made, validate=validate)

    assert state.ended_early
    assert (state.step, state.best_step, state.best_score) == (10, 4, 0.5)
    assert checkpoints[-1] == 10  # how it ended is in a checkpoint
    assert [entry["step"] for entry in state.validations] == [2, 4, 6, 8, 10]
    for name, tensor in seen[1].items():
        torch.testing.assert_close(state.best_weights[name], tensor, rtol=0, atol=0, msg=name)


def test_without_patience_training_goes_to_its_last_step() -> None:
    settings = dataclasses.replace(SETTINGS, validate_every_steps=2, patience=0)
    state, _ = run(settings, validate=lambda: {"recall_at_1": 0.0})
    assert state.step == SETTINGS.steps
    assert not state.ended_early


def test_curves_are_written() -> None:
    points: dict[str, list[int]] = {}

    def scalars(step: int, values: Mapping[str, float]) -> None:
        for name in values:
            points.setdefault(name, []).append(step)

    settings = dataclasses.replace(SETTINGS, validate_every_steps=6)
    run(settings, scalars=scalars, validate=lambda: {"recall_at_1": 0.5})
    assert points["train/loss"] == points["train/spread"] == points["train/learning_rate"] == [4, 8, 12]
    assert points["validation/recall_at_1"] == [6, 12]


def test_mined_negatives_join_each_batch() -> None:
    made, minings = encoder(), 0
    pixels = pictures(20, seed=5)
    bank = Bank(blocks=[pixels.permute(0, 2, 3, 1).numpy()], product_N=np.arange(20), category_N=np.arange(20) % 2)
    given: list[int] = []

    def encode(image_BCHW: Tensor) -> np.ndarray:
        nonlocal minings
        minings += 1
        return made.encode_pixels(image_BCHW.permute(0, 2, 3, 1).numpy())

    def counting(embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        given.append(len(embedded.negative_MD))
        return TripletHinge()(embedded)

    settings = dataclasses.replace(SETTINGS, mine_every_steps=5)
    run(settings, made=made, loss=counting, negatives=HardNegatives(bank, encode, ranks=(0, 4)))
    assert given == [16] * 12
    assert minings == 3  # before steps 0, 5 and 10


def test_bfloat16_and_channels_last_train_and_keep_float32_weights() -> None:
    settings = dataclasses.replace(SETTINGS, steps=60, precision="bfloat16", channels_last=True)
    state, _ = run(dataclasses.replace(settings, checkpoint_every_steps=6))
    losses = [entry["loss"] for entry in state.history]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert {tensor.dtype for tensor in state.weights.values()} == {torch.float32, torch.int64}


RECIPES = {
    "visnet": {"trunk": "resnet18", "image_size": 64, "resize": 72, "dimension": 16, "pretrained": False},
    "mildnet": {"image_size": 64, "resize": 72, "dimension": 16, "hidden": 16, "pretrained": False},
}


@pytest.mark.parametrize("loss", [TripletHinge(), InfoNCE()])
@pytest.mark.parametrize("name", RECIPES)
def test_photos_train_every_recipe_by_the_same_loop(name: str, loss: Loss) -> None:
    torch.manual_seed(0)
    made = Encoder(make_recipe(name, **RECIPES[name]))
    before = {name: tensor.clone() for name, tensor in made.network.state_dict().items()}

    def batches(_epoch: int) -> Iterator[Batch]:
        anchor, positive = (torch.randint(0, 255, (4, 3, 72, 72), dtype=torch.uint8) for _ in range(2))
        numbers = torch.arange(4)
        yield Batch(anchor_BCHW=anchor, positive_BCHW=positive, product_B=numbers, category_B=numbers % 2)

    settings = dataclasses.replace(SETTINGS, batch_size=4, steps=1, synthetic_share=0.5)
    state, _ = run(settings, made=made, loss=loss, batches=batches)

    assert state.step == 1
    assert any(not torch.equal(before[name], tensor) for name, tensor in made.network.state_dict().items())


def test_a_pretrained_trunk_stays_as_it_is_while_it_is_frozen() -> None:
    torch.manual_seed(0)
    made = Encoder(make_recipe("visnet", **RECIPES["visnet"]))
    wraps: list[int] = []
    frozen = {name: tensor.clone() for name, tensor in made.network.trunk.state_dict().items()}
    states: list[bool] = []

    def batches(_epoch: int) -> Iterator[Batch]:
        for _ in range(5):
            states.append(
                all(torch.equal(frozen[name], tensor) for name, tensor in made.network.trunk.state_dict().items())
            )
            pixels = torch.randint(0, 255, (4, 3, 72, 72), dtype=torch.uint8)
            numbers = torch.arange(4)
            yield Batch(anchor_BCHW=pixels, positive_BCHW=pixels, product_B=numbers, category_B=numbers % 2)

    def wrap(network: nn.Module) -> nn.Module:
        wraps.append(sum(parameter.requires_grad for parameter in network.parameters()))
        return network

    settings = dataclasses.replace(SETTINGS, batch_size=4, steps=5, freeze_steps=3)
    run(settings, State(pretrained="some weights"), made=made, batches=batches, wrap=wrap)
    assert states == [True, True, True, True, False]  # before each step; the first to change it is the fourth
    assert len(wraps) == 2
    assert wraps[0] < wraps[1]  # wrapped anew when more parameters learn
