"""How many photos the embedder takes at once.

Many at once take less time each, but all wait for the last of them: batches that are full grow, and those that take too
long shrink.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveBatch:
    """The size at present; `after` gives that of the next batch."""

    most: int
    """Photos at once, at most."""
    target_s: float
    """A batch should not take longer."""
    size: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", max(1, min(self.size, self.most)))

    def after(self, photos: int, taken_s: float) -> AdaptiveBatch:
        """Adapted to a batch of so many photos that took so long."""
        if taken_s > self.target_s:
            return replace(self, size=min(self.size, photos) // 2)
        return replace(self, size=2 * self.size) if photos >= self.size else self
