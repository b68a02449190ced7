"""What runs in each Ray Train worker of a detector's training: the detector, its scenes, its validation."""

from __future__ import annotations

import logging
from typing import Any

from visnet.platform.catalog import open_catalog
from visnet.platform.detector import Detector
from visnet.platform.detectors import make_detector_recipe
from visnet.platform.settings import DetectorSettings
from visnet.train.detection.data import batches
from visnet.train.detection.labels import Labels
from visnet.train.detection.task import DetectionTask
from visnet.train.detection.validation import DetectorValidation, labelled_pictures, scene_pictures
from visnet.train.examples import HoldOut
from visnet.train.session import Session

logger = logging.getLogger(__name__)


def detector_worker(config: dict[str, Any]) -> str | None:
    """One worker's whole life: from the last checkpoint, or the start, to the end.

    Args:
        config: as `job.py` and `run.py` make it: settings, store, key, catalog, recipe, classes, bank (a reference to
            what is validated on) and labels (where given boxes come from, or None).

    Returns:
        Why the training was given up; None where it went to its end.
    """
    import ray
    import ray.train

    settings = DetectorSettings(**config["settings"])
    session = Session.start(settings, config)
    recipe, classes = make_detector_recipe(**config["recipe"]), config["classes"]
    if session.state.step:
        network = recipe.build(len(classes))
    else:
        network, session.state.pretrained = recipe.build_pretrained(len(classes))
        if session.rank == 0:
            logger.info("training starts from the weights: %s", session.state.pretrained)
    detector = Detector(recipe, classes, network, device=str(session.device))
    labels = labels_of(config["labels"], session)
    side = recipe.image_size
    scenes = scene_pictures(
        ray.get(config["bank"][0]),
        classes,
        scenes=settings.validation_scenes,
        side=side,
        seed=settings.seed,
        most_items=settings.most_items,
    )
    photos = None
    if labels is not None:
        photos = labelled_pictures(labels.held_out(), classes, most=settings.validation_scenes, side=side)
    return session.run(
        DetectionTask(detector),
        lambda epoch: batches(
            ray.train.get_dataset_shard("scenes"),
            ray.train.get_dataset_shard("photos") if labels is not None else None,
            size=session.batch_size,
            photo_share=settings.labelled_share,
            seed=settings.seed * 1_009 + 31 * epoch + session.rank,
            device=session.device,
        ),
        validate=DetectorValidation(detector, scenes, photos),
    )


def labels_of(described: dict[str, Any] | None, session: Session) -> Labels | None:
    """The labels as `job.py` describes them."""
    if described is None:
        return None
    catalog = open_catalog(session.store, *described["catalog"])
    hold_out = HoldOut(**described["hold_out"])
    return Labels(catalog=catalog, labelled=described["labelled"], split=described["split"], hold_out=hold_out)
