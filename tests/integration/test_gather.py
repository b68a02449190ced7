"""Workers with gloo against one process with the whole batch: the same negatives, loss and gradients."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from visnet.train.batch import Embedded
from visnet.train.gather import gather, gather_uneven
from visnet.train.losses import InfoNCE, Loss, TripletHinge
from visnet.train.mining import Bank, HardNegatives

pytestmark = pytest.mark.integration

ROWS, WIDTH = 12, 6
LOSSES: dict[str, Loss] = {
    "hinge": TripletHinge(margin=0.5, in_class_share=0.3),
    "hinge, hardest": TripletHinge(margin=0.5, in_class_share=0.3, negatives="hardest"),
    "hinge, own": TripletHinge(margin=0.5, in_class_share=0.3, negatives="own"),
    "info-nce": InfoNCE(temperature=0.2),
}


def whole_batch() -> dict[str, Tensor]:
    """Anchors, positives and a brought-along negative of each, with their numbers."""
    generator = torch.Generator().manual_seed(7)
    pictures = {name: torch.randn(ROWS, WIDTH, generator=generator) for name in ("anchor", "positive", "negative")}
    numbers = {"product": torch.arange(ROWS) // 2, "category": torch.arange(ROWS) % 3}
    return {
        **pictures,
        **numbers,
        "negative_product": torch.arange(ROWS) // 3 + 4,
        "negative_category": torch.arange(ROWS) % 2,
    }


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WIDTH)


def loss_of(model: nn.Module, part: slice, loss: Loss) -> Tensor:
    batch = {name: tensor[part] for name, tensor in whole_batch().items()}
    images = torch.cat([batch["anchor"], batch["positive"], batch["negative"]])
    anchor_BD, positive_BD, negative_MD = nn.functional.normalize(model(images), dim=1).chunk(3)
    value, _ = loss(
        Embedded(
            anchor_BD=anchor_BD,
            positive_BD=positive_BD,
            product_B=batch["product"],
            category_B=batch["category"],
            negative_MD=negative_MD,
            negative_product_M=batch["negative_product"],
            negative_category_M=batch["negative_category"],
        )
    )
    return value


def bank() -> Bank:
    """Grey pictures of 13 products: an odd number, which no worker count divides."""
    shades = np.arange(0, 13 * 18, 18, dtype=np.uint8)
    pixels = np.broadcast_to(shades[:, None, None, None], (13, 2, 2, 3)).copy()
    return Bank(blocks=[pixels[:5], pixels[5:]], product_N=np.arange(13), category_N=np.arange(13) % 2)


def mined() -> Tensor:
    """The hard negatives of the bank by an encoder to which shades near each other look alike."""

    def encode(image_BCHW: Tensor) -> np.ndarray:
        angle_B = image_BCHW[:, 0, 0, 0].float() / 255 * 3
        return torch.stack([angle_B.cos(), angle_B.sin()], dim=1).numpy()

    negatives = HardNegatives(bank(), encode, ranks=(0, 3))
    negatives.mine()
    return torch.from_numpy(negatives.neighbour_NK)


def worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    size = ROWS // workers
    part = slice(rank * size, (rank + 1) * size)
    result: dict[str, object] = {
        "products": gather(whole_batch()["product"][part]),
        "uneven": gather_uneven(torch.arange(rank, 2 * rank)[:, None]),
        "mined": mined(),
    }
    for name, loss in LOSSES.items():
        model = nn.parallel.DistributedDataParallel(network())
        value = loss_of(model, part, loss)
        value.backward()
        result[name] = {"loss": value.detach(), "gradients": [parameter.grad for parameter in model.parameters()]}
    torch.save(result, f"{folder}/rank-{rank}.pt")
    dist.barrier()
    os._exit(0)  # without Python's own end: gloo's threads abort the process there now and then


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_learn_what_one_process_would(workers: int, tmp_path: Path) -> None:
    mp.start_processes(worker, args=(workers, str(tmp_path)), nprocs=workers, start_method="spawn")

    results = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(workers)]
    for result in results:
        assert result["products"].tolist() == whole_batch()["product"].tolist()  # all negatives, in order
        assert result["uneven"].flatten().tolist() == [n for rank in range(workers) for n in range(rank, 2 * rank)]
        assert result["mined"].tolist() == mined().tolist()
    for name, loss in LOSSES.items():
        alone = network()
        expected = loss_of(alone, slice(None), loss)
        expected.backward()
        losses = torch.stack([result[name]["loss"] for result in results])
        torch.testing.assert_close(losses.mean(), expected.detach(), msg=name)
        for result in results:
            for gradient, parameter in zip(result[name]["gradients"], alone.parameters(), strict=True):
                torch.testing.assert_close(gradient, parameter.grad, msg=name)
