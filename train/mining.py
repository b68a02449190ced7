"""Hard negatives mined from an index of the encoder as it is.

Every so many steps the workers embed the shop pictures they hold (each its share), and every picture's nearest
pictures of other products become the negatives of its product: what the encoder now confuses. Between two minings the
list grows stale; the loss does not, as the negatives are embedded anew in their step. A mining costs one embedding
pass over the pictures and one exact search.

Source: mining offline with recent weights as in FaceNet, arXiv:1503.03832, section 3.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visnet.platform.knn import make_vectors
from visnet.train.batch import Batch
from visnet.train.gather import gather_uneven, world

# N pictures held, D embedding, K neighbours, B anchors of this worker

BATCH = 256
SEARCHED_AT_ONCE = 4_096


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The shop pictures that negatives are mined from, the same for every worker."""

    blocks: Sequence[np.ndarray]
    """Decoded pictures, uint8 (rows, H, W, 3), in as many pieces as they came in: none is copied."""
    product_N: np.ndarray
    """int64 product numbers."""
    category_N: np.ndarray
    """int64 category numbers."""

    def __len__(self) -> int:
        return len(self.product_N)

    def take(self, row_N: np.ndarray) -> Tensor:
        """Some pictures, uint8 (N, 3, H, W)."""
        ends = np.cumsum([len(block) for block in self.blocks])
        block_N = np.searchsorted(ends, row_N, side="right")
        pictures = [
            self.blocks[block][row - ends[block] + len(self.blocks[block])]
            for block, row in zip(block_N, row_N, strict=True)
        ]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


class HardNegatives:
    """Mines, and adds a mined negative to each anchor of a batch.

    Args:
        encode: uint8 (B, 3, H, W) -> float32 embeddings (B, D), by the encoder as it is.
        ranks: the negatives are drawn from these ranks [first, last) among pictures of other products.
        device: where is searched.
    """

    def __init__(
        self, bank: Bank, encode: Callable[[Tensor], np.ndarray], *, ranks: tuple[int, int], device: str = "cpu"
    ) -> None:
        if not 0 <= ranks[0] < ranks[1]:
            raise ValueError(f"expected mine_ranks (first, last) with 0 <= first < last, got {ranks}")
        if len(np.unique(bank.product_N)) < 2:
            raise ValueError("hard negatives are other products: the pictures to mine from show just one")
        self._bank, self._encode, self._ranks, self._device = bank, encode, ranks, device
        self.neighbour_NK = np.empty((len(bank), 0), np.int64)
        """Row numbers of each picture's hard negatives, nearest first; -1 where there are too few."""
        self.mined = False
        order_N = np.argsort(bank.product_N, kind="stable")
        self._order_N, self._sorted_product_N = order_N, bank.product_N[order_N]

    def mine(self) -> None:
        """Embed the pictures and find each one's nearest others anew. Every worker must call it at the same step."""
        vector_ND = self._vectors()
        rank, workers = world()
        mine_N = np.array_split(np.arange(len(self._bank)), workers)[rank]
        _, repeats = np.unique(self._bank.product_N, return_counts=True)
        depth = min(len(self._bank), self._ranks[1] + int(repeats.max()))
        index = make_vectors(vector_ND, device=self._device)
        found = [np.empty((0, self._ranks[1] - self._ranks[0]), np.int64)]
        for start in range(0, len(mine_N), SEARCHED_AT_ONCE):
            row_Q = mine_N[start : start + SEARCHED_AT_ONCE]
            _, row_QK = index.search(vector_ND[row_Q], 0, len(vector_ND), depth)
            found.append(self._others(row_Q, row_QK))
        self.neighbour_NK = gather_uneven(torch.from_numpy(np.concatenate(found))).numpy()
        self.mined = True

    def extend(self, batch: Batch, *, generator: torch.Generator) -> Batch:
        """The batch with one mined negative for each anchor; for a product that is not among the pictures, any."""
        row_B = self._rows_of(batch.product_B.cpu().numpy(), generator)
        width = self.neighbour_NK.shape[1]
        choice_B = torch.randint(max(width, 1), (len(batch),), generator=generator).numpy()
        any_B = torch.randint(len(self._bank), (len(batch),), generator=generator).numpy()
        mined_B = self.neighbour_NK[row_B, choice_B] if width else any_B
        mined_B = np.where((row_B < 0) | (mined_B < 0), any_B, mined_B)
        device = batch.product_B.device
        return dataclasses.replace(
            batch,
            negative_MCHW=self._bank.take(mined_B).to(device),
            negative_product_M=torch.from_numpy(self._bank.product_N[mined_B]).to(device),
            negative_category_M=torch.from_numpy(self._bank.category_N[mined_B]).to(device),
        )

    def _vectors(self) -> np.ndarray:
        """All pictures' embeddings; each worker embeds its share."""
        rank, workers = world()
        mine_N = np.array_split(np.arange(len(self._bank)), workers)[rank]
        parts = [self._encode(self._bank.take(mine_N[start : start + BATCH])) for start in range(0, len(mine_N), BATCH)]
        vectors: np.ndarray = gather_uneven(torch.from_numpy(np.concatenate(parts))).numpy()
        return vectors

    def _others(self, row_Q: np.ndarray, found_QK: np.ndarray) -> np.ndarray:
        """Of each row's neighbours those of other products, at the wanted ranks; -1 where there are too few."""
        first, last = self._ranks
        other_QK = (self._bank.product_N[found_QK] != self._bank.product_N[row_Q][:, None]) & (found_QK >= 0)
        nearest_first_QK = np.argsort(~other_QK, axis=1, kind="stable")
        ordered_QK = np.where(
            np.take_along_axis(other_QK, nearest_first_QK, 1), np.take_along_axis(found_QK, nearest_first_QK, 1), -1
        )
        chosen_QK = np.full((len(row_Q), last - first), -1, np.int64)
        chosen_QK[:, : max(0, min(last, ordered_QK.shape[1]) - first)] = ordered_QK[:, first:last]
        return chosen_QK

    def _rows_of(self, product_B: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """A row of each product, drawn where it has several; -1 where it has none."""
        low_B = np.searchsorted(self._sorted_product_N, product_B, side="left")
        high_B = np.searchsorted(self._sorted_product_N, product_B, side="right")
        draw_B = torch.rand(len(product_B), generator=generator).numpy()
        place_B = low_B + (draw_B * (high_B - low_B)).astype(np.int64)
        return np.where(high_B > low_B, self._order_N[np.minimum(place_B, len(self._order_N) - 1)], -1)
