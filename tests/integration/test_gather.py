"""Workers with gloo against one process with the whole batch: the same negatives, loss and gradients."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp

from visnet.train.gather import gather
from visnet.train.losses import TripletHinge

pytestmark = pytest.mark.integration

ROWS, WIDTH = 12, 6
LOSS = TripletHinge(margin=0.5, in_class_share=0.3)


def whole_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    anchor = torch.randn(ROWS, WIDTH, generator=generator)
    positive = torch.randn(ROWS, WIDTH, generator=generator)
    return anchor, positive, torch.arange(ROWS) // 2, torch.arange(ROWS) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WIDTH)


def loss_of(model: nn.Module, part: slice) -> Tensor:
    anchor, positive, product, category = (tensor[part] for tensor in whole_batch())
    embeddings = nn.functional.normalize(model(torch.cat([anchor, positive])), dim=1)
    anchor_BD, positive_BD = embeddings.chunk(2)
    loss, _ = LOSS(anchor_BD, positive_BD, product, category)
    return loss


def worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    model = nn.parallel.DistributedDataParallel(network())
    size = ROWS // workers
    part = slice(rank * size, (rank + 1) * size)
    loss = loss_of(model, part)
    loss.backward()
    result = {
        "loss": loss.detach(),
        "gradients": [parameter.grad for parameter in model.parameters()],
        "products": gather(whole_batch()[2][part]),
    }
    torch.save(result, f"{folder}/rank-{rank}.pt")
    dist.barrier()
    os._exit(0)  # without Python's own end: gloo's threads abort the process there now and then


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_learn_what_one_process_would(workers: int, tmp_path: Path) -> None:
    alone = network()
    expected = loss_of(alone, slice(None))
    expected.backward()

    mp.start_processes(worker, args=(workers, str(tmp_path)), nprocs=workers, start_method="spawn")

    results = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in range(workers)]
    losses = torch.stack([result["loss"] for result in results])
    torch.testing.assert_close(losses.mean(), expected.detach())
    for result in results:
        assert result["products"].tolist() == whole_batch()[2].tolist()  # every worker sees all negatives, in order
        for gradient, parameter in zip(result["gradients"], alone.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad)
