"""What an evaluation can judge: an encoder of the store, or one of the baselines that need no training of ours.

pretrained    a published trunk's pooled last feature map        histogram    colours alone, in CIE LAB
pixels        the picture's own pixels, small                    untrained    the encoder's network, fresh weights
"""

from __future__ import annotations

from dataclasses import dataclass

from visnet.platform.encoder import Encoder, load_encoder, recipe_of
from visnet.platform.encoder_manifest import EncoderManifest, encoder_manifest
from visnet.platform.errors import NotFoundError
from visnet.platform.evaluation import Subject
from visnet.platform.networks import make_recipe
from visnet.platform.settings import EvaluateSettings
from visnet.platform.store import Store

PRETRAINED, HISTOGRAM, PIXELS, UNTRAINED = BASELINES = ("pretrained", "histogram", "pixels", "untrained")
DEFAULT_AGAINST = (PIXELS, UNTRAINED)
"""What an encoder of the store is compared with if nothing else is asked for."""
RESIZE_MARGIN = 8 / 7
"""The usual 256 to 224: how much larger than its square the baseline's picture is scaled."""


@dataclass(frozen=True)
class Contender:
    """One encoder of an evaluation."""

    name: str
    encoder: Encoder
    subject: Subject


def contenders(
    store: Store, name: str, against: tuple[str, ...] | None, settings: EvaluateSettings, *, device: str
) -> list[Contender]:
    """The encoder called `name`, then those it is compared with, each once.

    Args:
        against: names; None is `DEFAULT_AGAINST` beside an encoder of the store, and nothing beside a baseline.

    Raises:
        NotFoundError: no such encoder, or the weights of `pretrained` can't be had.
        ValueError: `untrained` without an encoder whose network it could be.
    """
    if name == UNTRAINED or (UNTRAINED in (against or ()) and name in BASELINES):
        raise ValueError(
            "untrained is an encoder's own network with fresh weights: evaluate an encoder of the store with "
            "--against untrained"
        )
    manifest = None if name in BASELINES else encoder_manifest(store, name)
    if against is None:
        against = DEFAULT_AGAINST if manifest else ()
    names = list(dict.fromkeys([name, *against]))
    return [_contender(store, one, manifest, settings, device) for one in names]


def _contender(
    store: Store, name: str, beside: EncoderManifest | None, settings: EvaluateSettings, device: str
) -> Contender:
    match name:
        case "pretrained":
            encoder, weights = _pretrained(settings, device)
        case "histogram" | "pixels":
            encoder, weights = Encoder(make_recipe(name), device=device), "none: nothing is learned"
        case "untrained" if beside is not None:
            encoder, weights = _untrained(beside, device), f"fresh, of {beside.encoder}'s recipe"
        case _:
            manifest = encoder_manifest(store, name)
            encoder = load_encoder(store, name, device=device)
            weights = f"{'trained' if manifest.training else 'not trained'}, started from: {manifest.pretrained}"
    subject = Subject(
        digest=encoder.digest(),
        dimension=encoder.recipe.dimension,
        image_size=encoder.preprocessing.crop,
        weights=weights,
    )
    return Contender(name, encoder, subject)


def _pretrained(settings: EvaluateSettings, device: str) -> tuple[Encoder, str]:
    from visnet.platform.networks.trunk import Trunk

    size = settings.image_size
    recipe = Trunk(trunk=settings.trunk, image_size=size, resize=round(RESIZE_MARGIN * size))
    network, source = recipe.build_pretrained()
    if source.startswith("none"):
        raise NotFoundError(f"the baseline pretrained has no weights for {settings.trunk}: {source}")
    return Encoder(recipe, network, device=device), f"{settings.trunk}, {source}"


def _untrained(manifest: EncoderManifest, device: str) -> Encoder:
    import torch

    recipe = recipe_of(manifest)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder(recipe, device=device)
