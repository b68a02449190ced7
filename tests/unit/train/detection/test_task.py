"""A detector's task: pictures are changed and their boxes with them; the loss is the sum of the network's."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.detectors.network import Boxes, no_boxes
from visnet.train.detection.data import SceneBatch
from visnet.train.detection.task import GAIN, DetectionTask, changed

SIDE = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(batch: int) -> tuple[Tensor, list[Boxes]]:
    """A white rectangle on black in each, left of the middle, with its box; the last picture is empty."""
    image_BCHW = torch.zeros(batch, 3, SIDE, SIDE)
    truth = []
    for number in range(batch - 1):
        left, right = 2, 6 + number % 5
        image_BCHW[number, :, 5:15, left:right] = 0.8
        truth.append(Boxes(box_N4=torch.tensor([[left, 5.0, right, 15.0]]), label_N=torch.tensor([number])))
    return image_BCHW, [*truth, no_boxes()]


def seen_box(image_CHW: Tensor) -> list[int]:
    y_N, x_N = torch.nonzero(image_CHW.amax(0) > 0.3, as_tuple=True)
    return [int(x_N.min()), int(y_N.min()), int(x_N.max()) + 1, int(y_N.max()) + 1]


def test_a_box_still_encloses_its_object_mirrored_or_not() -> None:
    image_BCHW, truth = pictures(32)
    changed_BCHW, boxes = changed(image_BCHW, truth, generator=seeded())
    mirrored = 0
    for number in range(31):
        assert boxes[number].box_N4[0].tolist() == seen_box(changed_BCHW[number])
        assert boxes[number].label_N.tolist() == [number]
        mirrored += boxes[number].box_N4[0].tolist() != truth[number].box_N4[0].tolist()
    assert 8 <= mirrored <= 23
    assert boxes[31].box_N4.shape == (0, 4)


def test_several_boxes_are_mirrored_each() -> None:
    one = Boxes(box_N4=torch.tensor([[0.0, 1, 4, 5], [10.0, 2, 24, 6]]), label_N=torch.tensor([1, 0]))
    for seed in range(8):
        _, (after,) = changed(torch.zeros(1, 3, SIDE, SIDE), [one], generator=seeded(seed))
        if not torch.equal(after.box_N4, one.box_N4):
            assert after.box_N4.tolist() == [[20, 1, 24, 5], [0, 2, 14, 6]]
            assert after.label_N.tolist() == [1, 0]
            return
    pytest.fail("the case was not tried")


def test_each_picture_and_channel_has_another_light_within_bounds() -> None:
    grey_BCHW = torch.full((64, 3, 4, 4), 0.5)
    changed_BCHW, _ = changed(grey_BCHW, [no_boxes()] * 64, generator=seeded())
    gain_BC = changed_BCHW[:, :, 0, 0] / 0.5
    assert torch.equal(changed_BCHW, changed_BCHW[:, :, :1, :1].expand_as(changed_BCHW))
    assert gain_BC.min() < 1 - 0.8 * GAIN
    assert gain_BC.max() > 1 + 0.8 * GAIN
    assert ((gain_BC - 1).abs() <= GAIN + 1e-6).all()
    assert len(gain_BC.unique()) > 150
    white_BCHW, _ = changed(torch.ones(16, 3, 4, 4), [no_boxes()] * 16, generator=seeded())
    assert white_BCHW.max() == 1


def test_equal_generators_give_equal_results_and_others_do_not() -> None:
    image_BCHW, truth = pictures(16)
    before = image_BCHW.clone()
    first_BCHW, first = changed(image_BCHW, truth, generator=seeded(3))
    torch.manual_seed(5)  # the global state plays no part
    again_BCHW, again = changed(image_BCHW, truth, generator=seeded(3))
    other_BCHW, _ = changed(image_BCHW, truth, generator=seeded(4))
    assert torch.equal(first_BCHW, again_BCHW)
    assert all(torch.equal(one.box_N4, other.box_N4) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first_BCHW, other_BCHW)
    assert torch.equal(image_BCHW, before), "the input is not left alone"


class Losses(nn.Module):
    """Two losses of known size, and what it was given."""

    given: Any = None

    def forward(self, image_BCHW: Tensor, truth: list[Boxes]) -> dict[str, Tensor]:
        self.given = image_BCHW, truth
        total = image_BCHW.mean() * 0
        return {"box": total + 0.25, "class": total + 0.5}


def test_the_loss_is_the_sum_and_each_is_told() -> None:
    network = Losses()
    detector: Any = SimpleNamespace(network=network, device="cpu", normalise=lambda pixels: pixels.float() / 255)
    task = DetectionTask(detector)
    pixel_BCHW = torch.full((3, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    batch = SceneBatch(image_BCHW=pixel_BCHW, truth=[no_boxes()] * 3)
    loss, told = task.loss(network, batch, generator=seeded())
    assert len(batch) == 3
    assert float(loss) == 0.75
    assert {name: float(value) for name, value in told.items()} == {"box": 0.25, "class": 0.5}
    assert not any(value.requires_grad for value in told.values())
    image_BCHW, truth = network.given
    assert 0.5 < float(image_BCHW.min()) <= float(image_BCHW.max()) <= 1
    assert len(truth) == 3
    assert (task.unit, task.best_by) == ("scenes", "ap50")
    assert task.progress({"loss": 0.75, "box": 0.25, "class": 0.5}) == "box 0.250, class 0.500"
