"""The training of an encoder on Ray Train: what decides it, what the workers are given, the encoder that comes of it.

Started again after a crash it goes on from its last checkpoint (`run.py`); started again after it finished, it gives
back the encoder it made.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from visnet.platform.catalog import Catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.encoder_manifest import EncoderManifest, encoder_manifest
from visnet.platform.errors import VisnetError
from visnet.platform.manifest import digest_of
from visnet.platform.networks import Recipe, describe_recipe, make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.store import Store
from visnet.train.data import mining_bank, training_examples
from visnet.train.examples import Examples, HoldOut
from visnet.train.outcome import event_files, forget, made_before, metrics
from visnet.train.run import decisive, fit
from visnet.train.triplet_task import TripletTask
from visnet.train.validation import ValidationPlan, plan_validation
from visnet.train.worker import train_worker

if TYPE_CHECKING:
    import ray.data

logger = logging.getLogger(__name__)


def train_encoder(
    store: Store, catalog: Catalog, examples: Examples, settings: TrainSettings, *, base: str | None = None
) -> tuple[EncoderManifest, bool]:
    """Train an encoder on a connected Ray cluster and write it as an artifact.

    Args:
        base: id of an encoder to start from, whose recipe is then taken.

    Returns:
        The encoder's manifest, and whether it stood already.

    Raises:
        VisnetError: the training failed; the text says why.
    """
    first, last = settings.mine_ranks
    if first >= last:
        raise VisnetError(f"train.mine_ranks: expected [first, last) with first < last, got {[first, last]}")
    recipe = _recipe(store, settings, base)
    training = {
        "catalog": catalog.reference,
        "examples": dataclasses.asdict(examples),
        "recipe": describe_recipe(recipe),
        "base": base,
        "settings": decisive(settings),
    }
    key = digest_of(training)
    if known := made_before(store, "encoders", encoder_manifest, key):
        return known, True
    given = _Given(catalog, examples, settings, recipe, base)
    state, seconds = fit(
        store, settings, key=key, worker=train_worker, config=given.config, datasets=given.datasets, split=["train"]
    )
    encoder = Encoder(recipe)
    encoder.network.load_state_dict(state.best_weights or state.weights)
    manifest = save_encoder(
        store,
        encoder,
        pretrained=state.pretrained,
        training={**training, "workers": settings.workers},
        training_key=key,
        metrics=metrics(state, settings, seconds, unit=TripletTask.unit, best="best_validation_recall"),
        files=event_files(store, key),
    )
    forget(store, key)
    return manifest, False


def _recipe(store: Store, settings: TrainSettings, base: str | None) -> Recipe:
    if base is None:
        return make_recipe(settings.recipe, **settings.recipe_options)
    described = {key: value for key, value in encoder_manifest(store, base).recipe.items() if key != "preprocessing"}
    return make_recipe(**described)


@dataclasses.dataclass(frozen=True)
class _Given:
    """What the workers are given."""

    catalog: Catalog
    examples: Examples
    settings: TrainSettings
    recipe: Recipe
    base: str | None

    def config(self) -> dict[str, Any]:
        manifest = self.catalog.manifest
        plan = plan_validation(self.catalog, self.examples, self._hold_out(), most=self.settings.validation_queries)
        return {
            "catalog": (manifest.name, manifest.version),
            "recipe": describe_recipe(self.recipe),
            "base": self.base,
            "validation": _described(plan),
            "triplets": self.examples.kind == "triplets",
        }

    def datasets(self) -> dict[str, ray.data.Dataset]:
        logger.info("decoding the %s of %s", self.examples.kind, self.catalog.reference)
        side, hold_out = self.recipe.preprocessing.resize, self._hold_out()
        train = training_examples(self.catalog, self.examples, side=side, hold_out=hold_out, seed=self.settings.seed)
        if not self.settings.mine_every_steps:
            return {"train": train}
        nothing = HoldOut(share=0.0, by="product", seed=0)  # a held-out photo's product is learned from all the same
        held_out = nothing if hold_out.by == "photo" else hold_out
        pictures = self.settings.mine_pictures
        return {
            "train": train,
            "bank": mining_bank(self.catalog, self.examples, side=side, hold_out=held_out, pictures=pictures),
        }

    def _hold_out(self) -> HoldOut:
        settings = self.settings
        by = settings.validation_by if self.examples.kind == "photos" else "product"
        return HoldOut(share=settings.validation_share, by=by, seed=settings.seed)


def _described(plan: ValidationPlan | None) -> dict[str, Any] | None:
    return None if plan is None else dataclasses.asdict(plan)
