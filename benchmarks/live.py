"""Search of one live shard: with filters, with a delta, and while products are written, against the static search.

    python benchmarks/live.py
    python benchmarks/live.py --device cuda --rows 10000000 --dimension 256

What bounds it: the search of the built shard alone, one pass over its vectors, measured in turns with everything else.
A filter can't cost more than that pass and what it selects: few rows are gathered and searched by themselves, many are
what is left of a deeper search; the mask is made once and kept. So it is timed with the mask there, and `first ms` is
the first search, which makes it. A delta is one more block to search. What is written takes the shard's one thread
from the searches: they lose at least the share of time that `apply` takes. Both are in the table.

All in one run, after a warm-up. Needs no Ray.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from search import CATEGORIES, unit_vectors
from timing import in_turns, machine, report

from visnet.platform.filters import Condition, Filter, check
from visnet.platform.live_shard import LiveShard, Replace
from visnet.platform.shard import Shard

# Q queries, N rows, D embedding

SHARES = (1, 10, 50)
"""Percent of the rows that a filter selects."""
SEARCHES = {
    "work": "search|s",
    "first_ms": "first ms|.2f",
    "batch": "batch|d",
    "ms": "ms|.2f",
    "to_static": "/static|.2f",
}
WRITES = {
    "work": "while writing|s",
    "delta": "delta rows|,d",
    "queries_per_s": "queries/s|,.0f",
    "to_static": "/static|.3f",
    "apply_share": "time in apply|.3f",
    "written_per_s": "written/s|,.0f",
}


def main() -> None:
    options = _options()
    vector_ND = unit_vectors(options.rows, options.dimension, device=options.device)
    static = Shard(vector_ND, catalogue_rows(options.rows), device=options.device)
    live = LiveShard(Shard(vector_ND, static.rows, device=options.device), device=options.device)
    del vector_ND
    lines: list[dict[str, object]] = []
    for delta in options.deltas:
        grow(live, delta)
        for batch in options.batches:
            lines += measure(static, live, batch, options)
    kept = {key: value for key, value in vars(options).items() if key not in ("batches", "deltas", "rates")}
    hardware = machine(options.device)
    title = f"a live shard of {options.rows:,} x {options.dimension}, k={options.k}; {hardware}"
    report(title, SEARCHES, lines, benchmark="live-search", machine=hardware, **kept)
    rates = [rate for rate in options.rates if rate]
    writes = [line for rate in rates for line in while_writing(live, rate, options)]
    report(title, WRITES, writes, benchmark="live-ingest", machine=hardware, **kept)


def measure(static: Shard, live: LiveShard, batch: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """Every kind of search with the delta as it is, in turns."""
    query_QD = unit_vectors(batch, static.dimension, seed=batch).astype(np.float32)
    category = [f"category-{CATEGORIES // 2}"]
    works: dict[str, Callable[[], object]] = {
        "static": lambda: static.search(query_QD, options.k),
        "static, category": lambda: static.search(query_QD, options.k, categories=category),
        "live": lambda: live.search(query_QD, options.k),
        "live, category": lambda: live.search(query_QD, options.k, categories=category),
    }
    for share in SHARES:
        where = check(Filter(must=(Condition(field="percent", lt=share),)), live.schema)
        works[f"live, {share} %"] = lambda where=where: live.search(query_QD, options.k, where=where)  # type: ignore[misc]
    first = {name: seconds(work) for name, work in works.items()}
    taken = in_turns(works, budget_s=options.budget_s)
    return [
        {
            "work": f"{name}, delta {live.delta_rows:,}" if name.startswith("live") else name,
            "first_ms": 1000 * first[name],
            "batch": batch,
            "ms": 1000 * taken[name],
            "to_static": taken[name] / taken["static"],
        }
        for name in works
    ]


def while_writing(live: LiveShard, rate: int, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Searches one after the other, and every so often what was written meanwhile; in turns with none written."""
    query_QD = unit_vectors(options.write_batch, live.dimension, seed=1).astype(np.float32)
    products = upserts(live.dimension)
    rounds = {0: [0, 0, 0.0, 0.0], rate: [0, 0, 0.0, 0.0]}  # searches, written, time in apply, time
    for _ in range(options.rounds):
        for now, tally in rounds.items():
            started = time.perf_counter()
            written = 0
            while (passed := time.perf_counter() - started) < options.budget_s / options.rounds:
                if (due := int(now * passed) - written) > 0 and due >= now * options.every_s:
                    tally[2] += seconds(lambda due=due: live.apply([next(products) for _ in range(due)]))  # type: ignore[misc]
                    written += due
                live.search(query_QD, options.k)
                tally[0] += 1
            tally[1] += written
            tally[3] += time.perf_counter() - started
    rates = {now: tally[0] * len(query_QD) / tally[3] for now, tally in rounds.items()}
    for now, (_, written, apply_s, over_s) in rounds.items():
        yield {
            "work": f"{now} a second",
            "delta": live.delta_rows,
            "queries_per_s": rates[now],
            "to_static": rates[now] / rates[0],
            "apply_share": apply_s / over_s,
            "written_per_s": written / over_s,
        }


def upserts(dimension: int, known: int = 20_000) -> Iterator[Replace]:
    """Products of the base and of the delta, over and over; made beforehand, as the replica's journal has them."""
    vector_ND = unit_vectors(1_000, dimension, seed=3)
    number = 0
    while True:
        number = (number + 7_919) % known
        yield upsert(number, vector_ND[number % 1_000 : number % 1_000 + 1])


def upsert(number: int, vector_1D: np.ndarray) -> Replace:
    row = {
        "image_id": f"new-{number}",
        "product_id": str(number),
        "category": f"category-{number % CATEGORIES}",
        "percent": number % 100,
        "content_hash": f"{2**127 + (number << 64):032x}",
    }
    return Replace(product_id=str(number), rows=[row], vector_ND=vector_1D)


def grow(live: LiveShard, delta: int) -> None:
    """Write products that the base has not until the delta has so many rows."""
    missing = delta - live.delta_rows
    vector_ND = unit_vectors(max(1, missing), live.dimension, seed=2)
    for first in range(0, missing, 256):
        numbers = range(first, min(first + 256, missing))
        start = 10**9 + live.delta_rows - first
        live.apply([upsert(start + number, vector_ND[number : number + 1]) for number in numbers])


def catalogue_rows(count: int) -> pa.Table:
    """A shard's rows in categories of equal size, with a percent that has nothing to do with the vectors."""
    number_N = np.arange(count)
    categories = pa.array([f"category-{name}" for name in range(CATEGORIES)])
    return pa.table(
        {
            "image_id": pa.array(number_N).cast(pa.string()),
            "product_id": pa.array(number_N).cast(pa.string()),
            "category": categories.take(pa.array(number_N * CATEGORIES // count)),
            "percent": pa.array(np.random.default_rng(0).integers(0, 100, count)),
            "content_hash": pa.array([f"{number << 64 | 1:032x}" for number in range(1, count + 1)]),
        }
    )


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--deltas", type=int, nargs="+", default=[0, 1_000, 20_000], help="rows, ascending")
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1_000], help="upserts a second")
    parser.add_argument("--write-batch", type=int, default=64, help="queries of a search while writing")
    parser.add_argument(
        "--every-s", type=float, default=0.05, help="seconds between two applications of what was written"
    )
    parser.add_argument("--rounds", type=int, default=10, help="turns of writing and not writing")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--budget-s", type=float, default=5.0, help="seconds of measuring for each line of searches")
    return parser.parse_args()


if __name__ == "__main__":
    main()
