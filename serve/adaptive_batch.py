"""How many photos the embedder takes at once, and how long the first of them waits for others.

Waiting pays only while others do come, and a batch only while it is done soon. So the wait is a part of the time that a
batch takes, as long as batches hold more than one photo, and nothing otherwise; batches that are full grow, and those
that take too long shrink.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

ALONE = 1.5
"""Photos in a batch, on average, up to which nobody comes."""
WAIT_SHARE = 0.1
"""Of the time that a batch takes, waited for others."""
MEMORY = 0.8
"""Weight of what went before in the averages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveBatch:
    """The size and the wait at present; `after` gives those of the next batch."""

    most: int
    """Photos at once, at most."""
    most_wait_s: float
    target_s: float
    """A batch should not take longer."""
    size: int = 4
    wait_s: float = 0.0
    mean_photos: float = 1.0
    mean_s: float = 0.0

    def after(self, photos: int, taken_s: float) -> AdaptiveBatch:
        """Adapted to a batch of so many photos that took so long."""
        mean_photos = MEMORY * self.mean_photos + (1 - MEMORY) * photos
        mean_s = MEMORY * self.mean_s + (1 - MEMORY) * taken_s
        size = self.size
        if taken_s > self.target_s:
            size = max(1, min(size, photos) // 2)
        elif photos >= size:
            size = min(self.most, 2 * size)
        wait_s = min(self.most_wait_s, WAIT_SHARE * mean_s) if mean_photos > ALONE else 0.0
        return replace(self, size=min(size, self.most), wait_s=wait_s, mean_photos=mean_photos, mean_s=mean_s)
