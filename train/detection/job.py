"""The training of a detector on Ray Train: what decides it, what the workers are given, what comes of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from visnet.platform.catalog import Catalog
from visnet.platform.detector import PRODUCT, Detector, save_detector
from visnet.platform.detector_manifest import DetectorManifest, detector_manifest
from visnet.platform.detectors import DetectorRecipe, make_detector_recipe
from visnet.platform.manifest import digest_of
from visnet.platform.networks import describe_recipe
from visnet.platform.settings import DetectorSettings
from visnet.platform.store import Store
from visnet.train.detection.average_precision import average_precision, best_threshold
from visnet.train.detection.bank import NOTHING, Banks, make_banks
from visnet.train.detection.data import composed_scenes, labelled_photos
from visnet.train.detection.labels import Labels
from visnet.train.detection.task import DetectionTask
from visnet.train.detection.validation import Pictures, labelled_pictures, scene_pictures
from visnet.train.detection.worker import detector_worker
from visnet.train.examples import HoldOut
from visnet.train.outcome import event_files, forget, made_before, metrics
from visnet.train.run import decisive, fit
from visnet.train.state import State

if TYPE_CHECKING:
    import ray.data

BEST = "best_validation_ap50"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a detector learns from."""

    where: tuple[tuple[str, str], ...] = ()
    """Only shop pictures of which these attributes have these values are composed into scenes."""
    photos: str | None = None
    """The split of the catalogue's street photos: their boxes are learned from, and backgrounds are made of them."""
    labelled: str | None = None
    """The name of labelled photos."""


def train_detector(
    store: Store, catalog: Catalog, learned: Learned, settings: DetectorSettings
) -> tuple[DetectorManifest, bool]:
    """Train a detector on a connected Ray cluster and write it as an artifact.

    Returns:
        The detector's manifest, and whether it stood already.

    Raises:
        CatalogError: there is nothing to learn from.
        VisnetError: the training failed; the text says why.
    """
    recipe = make_detector_recipe(settings.recipe, **settings.recipe_options)
    classes = sorted(catalog.manifest.categories) if settings.classes == "categories" else [PRODUCT]
    training = {
        "catalog": catalog.reference,
        "learned": dataclasses.asdict(learned),
        "recipe": describe_recipe(recipe),  # type: ignore[arg-type]
        "classes": classes,
        "settings": decisive(settings),
    }
    key = digest_of(training)
    if known := made_before(store, "detectors", detector_manifest, key):
        return known, True
    given = _Given(catalog, learned, settings, recipe, classes)
    state, seconds = fit(
        store,
        settings,
        key=key,
        worker=detector_worker,
        config=given.config,
        datasets=given.datasets,
        split=["scenes"],
    )
    detector = Detector(recipe, classes)
    detector.network.load_state_dict(state.best_weights or state.weights)
    figures = _judged(detector, given.validated_on())
    manifest = save_detector(
        store,
        detector,
        catalog=catalog.manifest.name,
        pretrained=state.pretrained,
        training={**training, "workers": settings.workers, "pictures": given.banks().accounts},
        training_key=key,
        files=_files(store, key, state, settings, seconds, figures),
    )
    forget(store, key)
    return manifest, False


def _judged(detector: Detector, pictures: Pictures) -> dict[str, Any]:
    """Set the confidence from which on items are believed, and say how well they are found."""
    found = detector.detect(pictures.images)
    detector.min_confidence = round(best_threshold(pictures.truth, found), 3)
    return dataclasses.asdict(average_precision(pictures.truth, found))


def _files(
    store: Store, key: str, state: State, settings: DetectorSettings, seconds: float, figures: dict[str, Any]
) -> dict[str, bytes]:
    told = {**metrics(state, settings, seconds, unit=DetectionTask.unit, best=BEST), "held_out": figures}
    return {"metrics.json": json.dumps(told, indent=2).encode(), **event_files(store, key)}


class _Given:
    """What the workers are given; made once, when the cluster is known to have room for them."""

    def __init__(
        self, catalog: Catalog, learned: Learned, settings: DetectorSettings, recipe: DetectorRecipe, classes: list[str]
    ) -> None:
        self._catalog, self._learned, self._settings = catalog, learned, settings
        self._recipe, self._classes = recipe, classes
        self._banks: Banks | None = None

    def config(self) -> dict[str, Any]:
        import ray

        manifest = self._catalog.manifest
        labels = self._labels
        return {
            "catalog": (manifest.name, manifest.version),
            "recipe": describe_recipe(self._recipe),  # type: ignore[arg-type]
            "classes": self._classes,
            "bank": [ray.put(self.banks().validation)],
            "labels": None if labels is None else self._described(labels),
        }

    def datasets(self) -> dict[str, ray.data.Dataset]:
        import ray

        settings, side = self._settings, self._recipe.image_size
        scenes = composed_scenes(
            ray.put(self.banks().training),
            scenes=settings.steps * settings.batch_size,
            side=side,
            seed=settings.seed,
            most_items=settings.most_items,
        )
        labels = self._labels
        photos = {} if labels is None else {"photos": labelled_photos(labels, self._classes, side=side)}
        return {"scenes": scenes, **photos}

    def banks(self) -> Banks:
        if self._banks is None and self._settings.labelled_share == 1 and self._labels is not None:
            self._banks = Banks(NOTHING, NOTHING, {"pictures": 0, "cut_out": 0, "broken": 0})
        if self._banks is None:
            logger.info("cutting products out of the shop pictures of %s", self._catalog.reference)
            self._banks = make_banks(
                self._catalog,
                self._learned.where,
                self._classes,
                self._settings,
                side=self._recipe.image_size,
                split=self._learned.photos,
            )
            logger.info("cut out %(cut_out)d of %(pictures)d pictures, %(broken)d are broken", self._banks.accounts)
        return self._banks

    def validated_on(self) -> Pictures:
        """The held-out labelled photos, or scenes of held-out products."""
        settings, side, labels = self._settings, self._recipe.image_size, self._labels
        if labels is not None:
            most = settings.validation_scenes
            photos = labelled_pictures(labels.held_out(), self._classes, most=most, side=side)
            if photos.images:
                return photos
        return scene_pictures(
            self.banks().validation,
            self._classes,
            scenes=settings.validation_scenes,
            side=side,
            seed=settings.seed,
            most_items=settings.most_items,
        )

    @functools.cached_property
    def _labels(self) -> Labels | None:
        if self._learned.labelled is None and self._learned.photos is None:
            return None
        hold_out = HoldOut(share=self._settings.validation_share, by="photo", seed=self._settings.seed)
        learned = self._learned
        labels = Labels(catalog=self._catalog, labelled=learned.labelled, split=learned.photos, hold_out=hold_out)
        return labels if learned.labelled is not None or labels.has_boxes() else None

    def _described(self, labels: Labels) -> dict[str, Any]:
        manifest = self._catalog.manifest
        return {
            "catalog": (manifest.name, manifest.version),
            "labelled": labels.labelled,
            "split": labels.split,
            "hold_out": dataclasses.asdict(labels.hold_out),
        }
