"""The alarm for a collapsed embedding: every picture at the same place, where a triplet's loss is just the margin.

A policy on figures alone; the loop acts on what it says. A network rarely leaves this state by itself, so a run is
ended rather than paid for to the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from visnet.platform.errors import VisnetError

LEAST_SPREAD = 0.02
"""Mean squared distance of unrelated embeddings relative to vectors at right angles; about 1 in a healthy network."""
STUCK = 0.02
"""The loss is at the margin if it differs by less than this share of it."""
ALL_ACTIVE = 0.99


class CollapsedError(VisnetError):
    """The training ended because the embedding collapsed; the text says by which signs, and what to try."""


@dataclass(kw_only=True)
class CollapseWatch:
    """Looks at a training's figures again and again.

    Args:
        margin: of the triplet hinge; None for losses without one.
        after: as many bad looks in a row are an alarm.
    """

    margin: float | None
    after: int
    _bad_looks: int = 0

    def look(self, loss: float, figures: Mapping[str, float]) -> str | None:
        """Judge the figures of one step (see `losses.Loss`); what is wrong by `after` looks in a row, else None."""
        signs = self._signs(loss, figures)
        self._bad_looks = self._bad_looks + 1 if signs else 0
        return " and ".join(signs) if self._bad_looks >= max(self.after, 1) else None

    def _signs(self, loss: float, figures: Mapping[str, float]) -> list[str]:
        signs = []
        if figures["spread"] < LEAST_SPREAD:
            signs.append(f"all embeddings lie together (spread {figures['spread']:.2g}, expected about 1)")
        stuck = self.margin is not None and math.isclose(loss, self.margin, rel_tol=STUCK)
        if stuck and figures.get("active_share", 0.0) > ALL_ACTIVE and figures["spread"] < 10 * LEAST_SPREAD:
            signs.append(f"the loss is stuck at the margin ({loss:.4g})")
        return signs
