"""The networks an encoder can be made of: one file per network, each with its configuration beside its class.

A recipe is a frozen dataclass that says everything needed to build the network again: it is written into the
encoder's manifest and read back from it. `build()` gives an `nn.Module` that maps `image_BCHW` (float32, normalised
by the recipe's own `preprocessing`) to `embedding_BD` (float32, unit length unless the recipe says otherwise).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import nn

from visnet.platform.imaging import Preprocessing


class Recipe(Protocol):
    """What every network's configuration offers."""

    name: ClassVar[str]

    @property
    def dimension(self) -> int:
        """Length of the embedding."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a decoded image becomes the network's input."""

    def build(self) -> nn.Module:
        """The network with fresh weights only: a saved encoder is loaded into it, so nothing is downloaded.

        A recipe with pretrained weights to offer has `build_pretrained() -> tuple[nn.Module, str]` besides: the
        network to start training from, and which weights it has; that network has `pretrained_part() -> nn.Module`,
        what of it the weights fill. A recipe whose embeddings are not of unit length has its own `margin`.
        """


def recipes() -> dict[str, type[Any]]:
    """Every recipe by its name. Imported here, not at the top: a network may pull in a large library."""
    from visnet.platform.networks.histogram import Histogram
    from visnet.platform.networks.mildnet import MILDNet
    from visnet.platform.networks.pixels import Pixels
    from visnet.platform.networks.texture import Texture
    from visnet.platform.networks.tiny import VisNetTiny
    from visnet.platform.networks.trunk import Trunk
    from visnet.platform.networks.visnet import VisNet
    from visnet.platform.networks.visnet_vgg16 import VisNetVGG16

    return {
        recipe.name: recipe for recipe in (VisNetTiny, VisNet, VisNetVGG16, MILDNet, Trunk, Histogram, Texture, Pixels)
    }


def make_recipe(name: str, **overrides: Any) -> Recipe:
    """The recipe called `name`, with some of its fields changed.

    Raises:
        ValueError: no such recipe, or it has no such field.
    """
    recipe: Recipe = made_from(recipes(), name, overrides)
    return recipe


def made_from(known: Mapping[str, type[Any]], name: str, overrides: Mapping[str, Any]) -> Any:
    """The recipe called `name` of those that are known, with some of its fields changed; raises as `make_recipe`."""
    if name not in known:
        raise ValueError(f"unknown recipe {name!r}: expected one of {', '.join(known)}")
    fields = {field.name for field in dataclasses.fields(known[name])}
    if unknown := set(overrides) - fields:
        raise ValueError(
            f"recipe {name!r} has no setting {', '.join(sorted(unknown))}: it has {', '.join(sorted(fields))}"
        )
    return known[name](**overrides)


def describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """A JSON-ready description that `make_recipe(**description)` turns back into the same recipe."""
    return {"name": recipe.name, **dataclasses.asdict(recipe)}  # type: ignore[call-overload]
