"""Products that a search should be nearer to, and others that it should be further from."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import numpy as np

from visnet.platform.live_recommend import query_vector
from visnet.serve import searching
from visnet.serve.messages import Looked
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served

# P positives, N negatives, D embedding


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Examples with their vectors, float32 unit vectors."""

    products: tuple[str, ...]
    """All of them; they are left out of what is found."""
    positive_PD: np.ndarray
    negative_ND: np.ndarray

    def steer(self, vector_D: np.ndarray) -> np.ndarray:
        """A query's vector, which counts as one more positive example.

        Raises:
            ProblemError: 422, the examples cancel each other.
        """
        if not self.products:
            return vector_D
        return self._query(np.vstack([vector_D[None], self.positive_PD]))

    def steer_all(self, looked: Looked) -> Looked:
        """The same for every part of a photo."""
        parts = [
            dataclasses.replace(part, vector_D=self.steer(part.vector_D)) if part.vector_D is not None else part
            for part in looked.parts
        ]
        return dataclasses.replace(looked, parts=tuple(parts))

    def alone(self) -> np.ndarray:
        """The vector of a search by nothing else; raises as `steer`."""
        return self._query(self.positive_PD)

    def _query(self, positive_PD: np.ndarray) -> np.ndarray:
        try:
            return query_vector(positive_PD, self.negative_ND)
        except ValueError as error:
            raise ProblemError(422, str(error)) from None


async def examples_of(served: Served, positive: Sequence[str], negative: Sequence[str]) -> Examples:
    """Products as examples.

    Raises:
        ProblemError: 404, there is no such product.
    """
    products = tuple(dict.fromkeys([*positive, *negative]))
    found = await asyncio.gather(*[searching.stored_vector(served, product) for product in products])
    vectors = dict(zip(products, found, strict=True))
    return Examples(
        products=products,
        positive_PD=_stacked([vectors[product] for product in positive], served.dimension),
        negative_ND=_stacked([vectors[product] for product in negative], served.dimension),
    )


def _stacked(vectors: Sequence[np.ndarray], dimension: int) -> np.ndarray:
    return np.stack(vectors) if vectors else np.empty((0, dimension), np.float32)
