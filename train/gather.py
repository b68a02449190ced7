"""Gathering across workers, with gradient: every worker sees the candidates of all.

Plain `all_gather` cuts the graph: a worker's candidates would learn only from its own anchors. Here the backward pass
sums each candidate's gradient over all workers. Source: the same construction as in SimCLR's cross-replica concat
(arXiv:2002.05709, section 2.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

# B rows of this worker, N rows of all workers, D embedding


def gather(row_B: Tensor) -> Tensor:
    """All workers' rows in the order of their ranks, without gradient. Every worker must bring equally many rows."""
    if not _distributed() or not len(row_B):
        return row_B
    gathered = [torch.empty_like(row_B) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, row_B.contiguous())
    return torch.cat(gathered)


def gather_with_gradient(embedding_BD: Tensor) -> Tensor:
    """As `gather`; gradients that any worker has for a row flow back to the worker it came from."""
    if not _distributed() or not len(embedding_BD):
        return embedding_BD
    gathered: Tensor = _Gather.apply(embedding_BD)
    return gathered


def gather_uneven(row_BD: Tensor) -> Tensor:
    """As `gather`, where the workers may bring different numbers of rows, and on the CPU even over nccl."""
    if not _distributed():
        return row_BD
    sent_BD = row_BD.cuda() if dist.get_backend() == "nccl" else row_BD  # nccl carries nothing else
    counts = gather(torch.tensor([len(sent_BD)], device=sent_BD.device)).tolist()
    padding = sent_BD.new_zeros((max(counts) - len(sent_BD), *sent_BD.shape[1:]))
    parts = gather(torch.cat([sent_BD, padding])).split(max(counts)) if max(counts) else ()
    kept = [part[:count] for part, count in zip(parts, counts, strict=False)]
    return torch.cat([sent_BD[:0], *kept]).to(row_BD.device)


def sum_over_workers(value: Tensor) -> Tensor:
    """The sum of a number over all workers, without gradient."""
    total = value.detach().clone()
    if _distributed():
        dist.all_reduce(total)
    return total


def world() -> tuple[int, int]:
    """(rank, number of workers) of this process; (0, 1) outside a process group."""
    return (dist.get_rank(), dist.get_world_size()) if _distributed() else (0, 1)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embedding_BD: Tensor) -> Tensor:
        ctx.rows = len(embedding_BD)
        return gather(embedding_BD)

    @staticmethod
    def backward(ctx: Any, gradient_ND: Tensor) -> Tensor:
        gradient_ND = gradient_ND.contiguous().clone()
        dist.all_reduce(gradient_ND)
        start = dist.get_rank() * ctx.rows
        return gradient_ND[start : start + ctx.rows]
