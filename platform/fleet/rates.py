"""What one core, card or process does in a second: measured, or assumed where nothing was, each with its source.

A plan is arithmetic over these. A measured rate names the file it stands in and quotes the line, so that a figure that
nobody measured can't slip in; a test looks each of them up. An assumed one gives its arithmetic. Replace either by
your own measurement: `visnet cluster plan --rate NAME=VALUE`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum

from visnet.platform.errors import SettingsError

_RESULTS = "benchmarks/results/"
_EMBED = _RESULTS + "embed-2-cores-2026-11-22.md"
_SEARCH = _RESULTS + "search-2-cores-2026-11-22.md"
_DETECT = _RESULTS + "detect-2-cores-2026-11-25.md"
_SERVE = _RESULTS + "serve-2-cores-2026-11-22.md"
_SCALE = _RESULTS + "scale-2-cores-2026-11-22.md"


class Basis(Enum):
    """What a rate rests on."""

    MEASURED = "measured"
    ASSUMED = "assumed"
    GIVEN = "given"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One figure that plans are made from."""

    name: str
    value: float
    """Above 0, in `unit`."""
    unit: str
    basis: Basis
    how: str
    """Where it comes from: the arithmetic, or the conditions it was measured under."""
    source: str = ""
    """File of this repository that a measured one stands in."""
    quote: str = ""
    """The line there, spaces aside."""


class Rates:
    """The rates of a plan; it notes which of them were asked for, in order."""

    def __init__(self, given: Mapping[str, float] | None = None) -> None:
        self._known = {rate.name: rate for rate in RATES}
        for name, value in (given or {}).items():
            self._known[name] = dataclasses.replace(
                _checked(name, value), value=value, basis=Basis.GIVEN, how="--rate", source="", quote=""
            )
        self._used: dict[str, Rate] = {}

    def __call__(self, name: str) -> float:
        rate = self._used[name] = self._known[name]
        return rate.value

    @property
    def used(self) -> tuple[Rate, ...]:
        return tuple(self._used.values())


def _checked(name: str, value: float) -> Rate:
    known = {rate.name: rate for rate in RATES}
    if name not in known:
        raise SettingsError(f"--rate {name}: there is no such rate; expected one of {', '.join(known)}")
    if not value > 0:
        raise SettingsError(f"--rate {name}: expected a number above 0, got {value:g} {known[name].unit}")
    return known[name]


def _measured(name: str, value: float, unit: str, source: str, quote: str, how: str) -> Rate:
    return Rate(name=name, value=value, unit=unit, basis=Basis.MEASURED, how=how, source=source, quote=quote)


def _assumed(name: str, value: float, unit: str, how: str) -> Rate:
    return Rate(name=name, value=value, unit=unit, basis=Basis.ASSUMED, how=how)


_WHOLE, _ONE_ITEM, _CARD_PHOTOS = 39.1, 10.8, 903.0

RATES: tuple[Rate, ...] = (
    _measured(
        "search_per_core",
        1_315 * 200_000 * 128 / 2,
        "multiply-adds/s",
        _SEARCH,
        "64 26.49 3.9 97.63 48.67 1.84 0.50 1,315",
        "1,315 queries/s x 200,000 rows x 128 dimensions, batch 64, 2 cores",
    ),
    _measured(
        "photos_per_core",
        _WHOLE,
        "photos/s",
        _DETECT,
        "whole 8 39.1",
        "photos of 1600x1200 through decoding and `visnet`, one thread of a loaded machine",
    ),
    _measured(
        "detected_photos_per_core",
        _ONE_ITEM,
        "photos/s",
        _DETECT,
        "1 item 8 10.8",
        "photos of 1600x1200, a detector in front of `visnet`, one item; one thread of a loaded machine",
    ),
    _measured("decoded_per_core", 289, "photos/s", _EMBED, "visnet JPEG 1600x1200 289", "photos of 1600x1200 to 224"),
    _measured(
        "embedded_per_core",
        130 / 2,
        "photos/s",
        _EMBED,
        "visnet 2 600 523 190 139 130",
        "the catalogue pass, decoding and network on the same core: 130/s on 2 cores",
    ),
    _measured(
        "indexed_per_core",
        259_476 * 128 / 2,
        "components/s",
        _SCALE,
        "index 1,000,000 3.9 259,476",
        "259,476 rows/s x 128 dimensions on 2 cores",
    ),
    _measured(
        "recommended_per_core",
        13_592 * 10_000 * 128 / 2,
        "multiply-adds/s",
        _SCALE,
        "recommend 1,000,000 73.6 13,592",
        "13,592 products/s within categories of 10,000 x 128 dimensions, all overheads, 2 cores",
    ),
    _measured(
        "row_on_disk",
        (374 * 2**20 - 1_000_000 * 2 * 128) / 1_000_000,
        "bytes",
        _SCALE,
        "374 MiB on disk",
        "an index row without its vector: 374 MiB for a million rows of 256-byte vectors",
    ),
    _measured(
        "ingress_products",
        1_043,
        "requests/s",
        _SERVE,
        "product 64 1,043",
        "searches by product, one replica with all else on 2 cores",
    ),
    _measured(
        "ingress_recommends",
        1_221,
        "requests/s",
        _SERVE,
        "recommend 64 1,221",
        "precomputed lists, one replica with all else on 2 cores",
    ),
    _measured(
        "ingress_photos",
        585,
        "requests/s",
        _SERVE,
        "photo 64 585",
        "photos, one replica with all else and `visnet-tiny` on 2 cores",
    ),
    _measured(
        "ingress_writes",
        665,
        "products/s",
        _SERVE,
        "vector 1000 665",
        "writes while it searches, one replica with all else on 2 cores",
    ),
    _assumed(
        "ingress_hop",
        0.00125,
        "core seconds",
        "a call of the ingress to a shard: 'a millisecond or more' (docs/decisions/014)",
    ),
    _assumed("gpu_share_reached", 0.5, "of the data sheet", "bandwidth and arithmetic of a card that a search reaches"),
    _assumed("gpu_score_bytes", 8, "bytes", "a score of a row and a query: written as float32, read by the selection"),
    _assumed(
        "gpu_scratch",
        1.5e9,
        "bytes",
        "what FAISS keeps for itself on a card (benchmarks/gpu-todo.md: 1.5 GB)",
    ),
    _assumed(
        "photos_per_l4",
        _CARD_PHOTOS,
        "photos/s",
        "an L4, from Ray Data's published batch inference, of another network; other cards by their arithmetic",
    ),
    _assumed(
        "detected_photos_per_l4",
        _CARD_PHOTOS * _ONE_ITEM / _WHOLE,
        "photos/s",
        "903 x 10.8 / 39.1: the detector costs a card what it costs a core",
    ),
    _assumed("plan_bytes", 160, "bytes", "a row in the driver's plan of the pass (docs/scale.md)"),
    _assumed("embedding_on_disk", 108, "bytes", "a stored embedding without its vector: ids, hash, version"),
)
"""All that plans are made from, in the order of the help."""
