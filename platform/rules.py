"""The rules of a recommendation, as functions on arrays: whoever has found neighbours applies them, in a pass or live.

A list of neighbours is a row of a matrix, best first; `valid_QK` says which places of it hold one. What is not valid
may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visnet.platform.errors import SettingsError

# Q queries, K neighbours, C candidates, N rows

PRICE_TYPES = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
STOCK_TYPES = (pa.types.is_boolean, *PRICE_TYPES)


def check_columns(schema: pa.Schema, *, in_stock: str | None, price: str | None) -> None:
    """Refuse columns that the rules can't be applied to.

    Args:
        schema: the columns that there are.
        in_stock: the column that says what is in stock, if it matters.
        price: the column with the price, if it matters.

    Raises:
        SettingsError: there is no such column, or not of a type that fits; with those that would do.
    """
    for setting, name, kinds, wanted in (
        ("in_stock", in_stock, STOCK_TYPES, "true and false or numbers"),
        ("price_column", price, PRICE_TYPES, "numbers"),
    ):
        if name is None:
            continue
        fitting = [field.name for field in schema if any(is_kind(field.type) for is_kind in kinds)]
        if name not in schema.names:
            raise SettingsError(f"{setting}: there is no attribute {name!r}; {_known(schema.names, fitting, wanted)}")
        if name not in fitting:
            found = schema.field(name).type
            raise SettingsError(
                f"{setting}: expected {wanted}, but {name!r} is {found}; {_known(schema.names, fitting, wanted)}"
            )


def stock_mask(column: pa.ChunkedArray) -> np.ndarray:
    """What is in stock, bool (N,): true, or a number above 0. Missing is not in stock."""
    in_stock = column if pa.types.is_boolean(column.type) else pc.greater(column.cast(pa.float64()), 0.0)
    mask: np.ndarray = pc.fill_null(in_stock, False).to_numpy()
    return mask


def is_in_stock(value: object) -> bool:
    """The same of a single value."""
    return isinstance(value, (bool, int, float, Decimal)) and value > 0


def prices(column: pa.ChunkedArray) -> np.ndarray:
    """Prices as float64 (N,); NaN where there is none."""
    price_N: np.ndarray = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    return price_N


def price_bounds(price_Q: np.ndarray, band: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest price, float64 (Q,), within a share `band` of each price; NaN where there is none."""
    margin_Q = np.abs(price_Q) * band
    return price_Q - margin_Q, price_Q + margin_Q


def within_band(price_Q: np.ndarray, price_QK: np.ndarray, band: float) -> np.ndarray:
    """Which neighbours' prices lie within a share `band` of the product's own, bool (Q, K); both ends count.

    A product without a price takes neighbours of any price, and of none; one with a price takes none without.
    """
    low_Q, high_Q = price_bounds(price_Q, band)
    inside_QK = (price_QK >= low_Q[:, None]) & (price_QK <= high_Q[:, None])
    within: np.ndarray = inside_QK | np.isnan(price_Q)[:, None]
    return within


def first_of_each(key_QK: np.ndarray, valid_QK: np.ndarray) -> np.ndarray:
    """The valid places, bool (Q, K), without those whose key an earlier valid place of the row has too.

    Few lists repeat anything: sorting says which, and only those are looked at closely.
    """
    sorted_QK = np.sort(key_QK, axis=1)
    suspect_Q = (sorted_QK[:, 1:] == sorted_QK[:, :-1]).any(axis=1)
    kept_QK = valid_QK.copy()
    kept_QK[suspect_Q] = _first_of_each(key_QK[suspect_Q], valid_QK[suspect_Q])
    return kept_QK


def _first_of_each(key_QK: np.ndarray, valid_QK: np.ndarray) -> np.ndarray:
    order_QK = np.lexsort((key_QK, ~valid_QK), axis=1)  # stable: the first of equal keys stays the first
    key_QK, valid_QK = (np.take_along_axis(array, order_QK, axis=1) for array in (key_QK, valid_QK))
    first_QK = valid_QK.copy()
    first_QK[:, 1:] &= ~(valid_QK[:, :-1] & (key_QK[:, 1:] == key_QK[:, :-1]))
    kept_QK = np.empty_like(first_QK)
    np.put_along_axis(kept_QK, order_QK, first_QK, axis=1)
    return kept_QK


def first_places(valid_QK: np.ndarray, k: int) -> np.ndarray:
    """The first `k` valid places of every row, int64 (Q, at most k); -1 after the last."""
    rank_QK = np.cumsum(valid_QK, axis=1)
    query, place = np.nonzero(valid_QK & (rank_QK <= k))
    place_QK = np.full((len(valid_QK), min(k, int(rank_QK.max(initial=0)))), -1)
    place_QK[query, rank_QK[query, place] - 1] = place
    return place_QK


def at_places(array_QK: np.ndarray, place_QK: np.ndarray, missing: float) -> np.ndarray:
    """The values at these places, in the array's type; `missing` where the place is -1."""
    if not array_QK.size:
        return np.full(place_QK.shape, missing, array_QK.dtype)
    taken = np.take_along_axis(array_QK, place_QK, axis=1)
    taken[place_QK < 0] = missing
    return taken


def diversify(score_QC: np.ndarray, similarity_QCC: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """Choose `k` candidates that are like the query and unlike each other: maximal marginal relevance.

    The most similar candidate is the first. Then, one after the other, the one for which (1 - diversity) * its score
    - diversity * its greatest similarity to a chosen one is largest; of equal ones, the earlier candidate.

    Args:
        score_QC: best first; -inf where there is no candidate.
        similarity_QCC: of the candidates to each other.
        diversity: 0 takes the first `k`; 1 looks at nothing but the differences.

    Returns:
        Their places among the candidates, int64 (Q, at most k), in the order they were chosen; -1 after the last.

    Source: Carbonell and Goldstein, SIGIR 1998, with lambda = 1 - diversity.
    """
    queries, candidates = score_QC.shape
    place_QK = np.full((queries, min(k, candidates)), -1)
    if not place_QK.size:
        return place_QK
    everyone = np.arange(queries)
    open_QC = np.isfinite(score_QC)
    relevance_QC = np.where(open_QC, (1 - diversity) * np.where(open_QC, score_QC, 0), -np.inf)
    nearest_QC = np.full(score_QC.shape, -np.inf, score_QC.dtype)
    value_QC = score_QC
    for step in range(place_QK.shape[1]):
        chosen_Q = value_QC.argmax(axis=1)
        place_QK[:, step] = np.where(open_QC[everyone, chosen_Q], chosen_Q, -1)
        open_QC[everyone, chosen_Q] = False
        relevance_QC[everyone, chosen_Q] = -np.inf
        np.maximum(nearest_QC, similarity_QCC[everyone, chosen_Q], out=nearest_QC)
        value_QC = relevance_QC - diversity * nearest_QC
    return place_QK


def _known(names: Iterable[str], fitting: list[str], wanted: str) -> str:
    return f"attributes of {wanted}: {', '.join(fitting) or 'none'}; all: {', '.join(names)}"
