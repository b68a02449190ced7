"""Basic image similarity scorers: each sees another side of what makes two pictures alike, and none needs training.

deep      a pretrained trunk's pooled last feature map: what the thing is, roughly its shape and style
color     a histogram in CIE LAB: which colours there are in the middle, and how much of each
texture   the energies of oriented filters: plain, striped, checked, dotted or printed

All see the same square of pixels, so that a picture is decoded once. Their vectors are rounded to a grid on which inner
products are exact in float32: see `on_grid`.

Source: Shankar et al. (arXiv:1703.02344), section 4.1, whose three scorers were AlexNet, PatternNet and a LAB colour
histogram of the foreground. The middle stands for the foreground: over the whole picture the colours of the floor
decide (of 404 shirts and skirts, a navy shirt on a red sheet was nearest to whatever lay on that sheet).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from visnet.platform.encoder import Encoder
from visnet.platform.errors import NotFoundError
from visnet.platform.networks import Recipe, describe_recipe, make_recipe
from visnet.platform.settings import TripletSettings

# B batch, D embedding

DEEP, COLOR, TEXTURE = SCORERS = ("deep", "color", "texture")
COLOR_CENTRE = 0.5
GRID = 2**11
NO_WEIGHTS = "none: nothing is learned"


@dataclass(frozen=True)
class Scorer:
    """A scorer as it travels to the processes that run it."""

    recipe: Recipe
    weights: dict[str, Tensor]
    pretrained: str
    """Which pretrained weights it has."""
    digest: str
    """The encoder's."""
    centre: float = 1.0
    """Share of each side, in the middle of the square, that is embedded."""

    def encoder(self, *, device: str = "cpu") -> Encoder:
        network = self.recipe.build()
        network.load_state_dict(self.weights)
        return Encoder(self.recipe, network, device=device)

    def seen(self, pixel_BHWC: np.ndarray) -> np.ndarray:
        """What of decoded squares is embedded."""
        side = pixel_BHWC.shape[1]
        margin = int(side * (1 - self.centre) / 2)
        return pixel_BHWC[:, margin : side - margin, margin : side - margin]

    def describe(self) -> dict[str, Any]:
        """JSON-ready, for manifests."""
        recipe = describe_recipe(self.recipe)
        return {"recipe": recipe, "centre": self.centre, "digest": self.digest, "pretrained": self.pretrained}


def make_scorers(names: Sequence[str], settings: TripletSettings) -> dict[str, Scorer]:
    """The scorers of these names.

    Raises:
        ValueError: as `check_names`.
        NotFoundError: the pretrained weights of `deep` can't be had.
    """
    check_names(names)
    return {name: _scorer(name, settings) for name in names}


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for an unknown name, one that occurs twice, or none at all."""
    if unknown := [name for name in names if name not in SCORERS]:
        raise ValueError(f"unknown scorer {', '.join(map(repr, unknown))}: expected some of {', '.join(SCORERS)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected one or more of {', '.join(SCORERS)}, each once, got {', '.join(names) or 'none'}")


def _scorer(name: str, settings: TripletSettings) -> Scorer:
    size = settings.image_size
    if name == DEEP:
        return _deep(settings.trunk, size)
    recipe = make_recipe("histogram", image_size=size) if name == COLOR else _texture(size)
    encoder = Encoder(recipe)
    centre = COLOR_CENTRE if name == COLOR else 1.0  # texture has a middle of its own
    return Scorer(recipe, encoder.network.state_dict(), NO_WEIGHTS, encoder.digest(), centre)


def _deep(trunk: str, size: int) -> Scorer:
    from visnet.platform.networks.trunk import Trunk

    recipe = Trunk(trunk=trunk, image_size=size, resize=size)
    network, source = recipe.build_pretrained()
    if source.startswith("none"):
        raise NotFoundError(
            f"the scorer deep has no pretrained weights for {trunk}, and untrained it would rank by chance: {source}; "
            f"go without it, --scorers {COLOR},{TEXTURE}"
        )
    encoder = Encoder(recipe, network)
    return Scorer(recipe, encoder.network.state_dict(), source, encoder.digest())


def _texture(size: int) -> Recipe:
    """With as many scales as a picture of that size has."""
    for scales in range(4, 1, -1):
        try:
            return make_recipe("texture", image_size=size, scales=scales)
        except ValueError:
            continue
    return make_recipe("texture", image_size=size, scales=1)


def on_grid(vector_BD: np.ndarray) -> np.ndarray:
    """Unit vectors rounded to multiples of 1 / 2048, as float16, which holds them exactly.

    The products of two such components are multiples of 2^-22 and their sums stay below 4, which float32 holds
    exactly too: an inner product is the same in whatever order, batch or library it is summed, so ranks do not depend
    on how the search is cut into tasks. The rounding moves a score by about 1e-4.
    """
    rounded: np.ndarray = (np.round(vector_BD * GRID) / GRID).astype(np.float16)
    return rounded
