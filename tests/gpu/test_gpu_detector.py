"""On a GPU: the detectors find what they find on a CPU. Needs no Ray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from visnet.platform.boxes import overlaps
from visnet.platform.detector import Detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.detectors.network import Boxes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

RECIPES: list[dict[str, Any]] = [
    {"name": "fcos-lite", "image_size": 128},
    {"name": "faster-rcnn", "trunk": "tf_efficientnet_lite0", "image_size": 128},
    {"name": "faster-rcnn", "image_size": 256},
]


def photos(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (90, 160, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("described", RECIPES)
def test_the_surest_items_are_the_cpus(described: dict[str, Any]) -> None:
    torch.manual_seed(0)
    recipe = make_detector_recipe(**described)
    cpu = Detector(recipe, ["bag", "shoe"], min_confidence=0.0)
    gpu = Detector(recipe, ["bag", "shoe"], min_confidence=0.0, device="cuda")
    gpu.network.load_state_dict(cpu.network.state_dict())
    for mine, theirs in zip(cpu.detect(photos(3)), gpu.detect(photos(3)), strict=True):
        surest = max(mine, key=lambda item: item.confidence, default=None)
        if surest is None:
            continue
        boxes = np.array([item.box for item in theirs], np.float32)
        shares = overlaps(np.array([surest.box], np.float32), boxes)[0]
        assert shares.max() > 0.95
        assert theirs[int(shares.argmax())].confidence == pytest.approx(surest.confidence, abs=0.02)


@pytest.mark.parametrize("described", RECIPES)
def test_a_step_of_training_lowers_the_loss(described: dict[str, Any]) -> None:
    torch.manual_seed(0)
    recipe = make_detector_recipe(**described)
    network = recipe.build(2).cuda().train()
    image_BCHW = torch.rand(4, 3, recipe.image_size, recipe.image_size, device="cuda")
    box = torch.tensor([[10.0, 10.0, 60.0, 50.0]], device="cuda")
    truth = [Boxes(box_N4=box, label_N=torch.tensor([1], device="cuda")) for _ in range(4)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = torch.stack(list(network(image_BCHW, truth).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < losses[0]
