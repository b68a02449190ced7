"""What the benchmarks share: timing in turns, a table for people and one JSON line for machines. Measures nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np


def in_turns(works: Mapping[str, Callable[[], object]], *, budget_s: float, rounds: int = 50) -> dict[str, float]:
    """The median time of each of several pieces of work, in seconds.

    They run one after the other, round after round, so that a machine that is busy for a while is so for all of
    them. Of three calls in a turn the first is not timed: it warms up, and meets the threads of the library before,
    which spin for a while. At least two rounds, then as many as `budget_s` allows.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    over = time.perf_counter() + budget_s
    for done in range(rounds):
        if done >= 2 and time.perf_counter() > over:
            break
        for name, work in works.items():
            work()
            for _ in range(2):
                started = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(taken)) for name, taken in times.items()}


def machine(device: str = "cpu") -> str:
    """The hardware in a few words."""
    if device == "cpu":
        return f"{os.cpu_count()} CPU cores"
    import torch

    return f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} CPU cores"


def report(title: str, columns: Mapping[str, str], lines: Sequence[Mapping[str, Any]], **result: Any) -> None:
    """Print the lines as a table, then everything as one JSON line.

    Args:
        columns: heading by key, each with the format of its values behind a bar: {"batch": "batch|d"}.
    """
    table = [[heading.partition("|")[0] for heading in columns.values()]]
    for line in lines:
        table.append([format(line[key], heading.partition("|")[2]) for key, heading in columns.items()])
    widths = [max(len(cells[column]) for cells in table) for column in range(len(columns))]
    print(f"\n{title}")
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))
    print(json.dumps({**result, "lines": [_rounded(line) for line in lines]}), flush=True)


def _rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in line.items()}
