"""What a shop asks of the platform: its catalogue, its traffic, and how fresh and safe the answers are to be."""

from __future__ import annotations

import dataclasses
import math

from visnet.platform.errors import SettingsError

HOUR_S = 3_600


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """The question that a plan answers."""

    images: int
    """Rows of the catalogue, at least 1."""
    dimension: int = 256
    """Of a vector."""
    queries_per_s: float
    """At the peak, of all kinds together."""
    photo_share: float = 0.2
    """Of the queries: photos, which the embedder looks at first. 0 to 1."""
    recommend_share: float = 0.0
    """Of the queries: precomputed recommendations, which search nothing. The rest are products searched live."""
    detector_share: float = 0.0
    """Of the photos: those in which the item is found first."""
    searched_share: float = 1.0
    """Of the rows, what a search passes over on average: a category that holds a tenth of them costs a tenth."""
    upserts_per_s: float = 0.0
    """Products written while it serves, each with a new picture."""
    fold_hours: float = 24.0
    """Between two index builds: so long written rows stay beside the index."""
    refresh_hours: float = 24.0
    """Within which every picture must be embedded anew, as after a new encoder."""
    refreshes_per_month: float = 1.0
    """How often that happens."""
    recommend_category_share: float = 0.0
    """Of the products, what each is compared with for its recommendations; 0: they are not computed."""
    replicas: int = 2
    """Copies of a shard, at least."""
    latency_s: float = 0.25
    """A search: the wait for the batch before and its own, at most."""
    utilisation: float = 0.7
    """How busy the parts may be at the peak, above 0 to 1."""

    def __post_init__(self) -> None:
        for name in ("photo_share", "recommend_share", "detector_share", "recommend_category_share"):
            self._check(name, "from 0 to 1", 0 <= getattr(self, name) <= 1)
        for name in ("searched_share", "utilisation"):
            self._check(name, "above 0, to 1", 0 < getattr(self, name) <= 1)
        for name in ("images", "dimension", "replicas"):
            self._check(name, "at least 1", getattr(self, name) >= 1)
        for name in ("queries_per_s", "refresh_hours", "fold_hours", "latency_s"):
            self._check(name, "above 0", 0 < getattr(self, name) < math.inf)
        for name in ("upserts_per_s", "refreshes_per_month"):
            self._check(name, "at least 0", 0 <= getattr(self, name) < math.inf)
        together = self.photo_share + self.recommend_share
        if together > 1:
            raise SettingsError(f"photo_share and recommend_share: expected at most 1 together, got {together:g}")

    def _check(self, name: str, expected: str, kept: bool) -> None:
        if not kept:
            raise SettingsError(f"{name}: expected {expected}, got {getattr(self, name):g}")

    @property
    def photos_per_s(self) -> float:
        """Photos of queries."""
        return self.queries_per_s * self.photo_share

    @property
    def recommends_per_s(self) -> float:
        return self.queries_per_s * self.recommend_share

    @property
    def searches_per_s(self) -> float:
        """Queries that pass over the vectors."""
        return self.queries_per_s - self.recommends_per_s

    @property
    def products_per_s(self) -> float:
        """Searches for what looks like a product."""
        return self.searches_per_s - self.photos_per_s

    @property
    def written_rows(self) -> int:
        """Rows beside the index just before it is built anew."""
        return math.ceil(self.upserts_per_s * self.fold_hours * HOUR_S)
