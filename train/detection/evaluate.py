"""The evaluation of a detector: what it finds, and what that is worth to searches, as an artifact with a report."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Iterator
from typing import Any

from visnet.platform.catalog import Catalog
from visnet.platform.detector import PRODUCT, load_detector
from visnet.platform.detector_manifest import detector_manifest, newest_detector
from visnet.platform.encoder import load_encoder
from visnet.platform.encoder_manifest import encoder_manifest, newest_encoder
from visnet.platform.errors import CatalogError, NotFoundError
from visnet.platform.localisation import LocalisationManifest, localisation_directory
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.scenes import AS_TAKEN
from visnet.platform.settings import DetectionSettings, DetectorSettings, EvaluateSettings
from visnet.platform.store import Store
from visnet.train.detection import asking
from visnet.train.detection.asking import Answered, Query
from visnet.train.detection.average_precision import average_precision
from visnet.train.detection.labels import Labels
from visnet.train.detection.queries import ComposedQueries, photo_queries
from visnet.train.detection.report import report, sheet
from visnet.train.detection.validation import labelled_pictures
from visnet.train.evaluation.cli import default_device
from visnet.train.evaluation.gallery import embed_gallery
from visnet.train.evaluation.plan import Plan, make_plan
from visnet.train.evaluation.plan import Request as SearchRequest
from visnet.train.evaluation.protocol import Bench
from visnet.train.examples import HoldOut

KS = (1, 5, 10, 20)
KINDS = {"scenes of one product": (1, 1), "scenes of several products": (2, 4)}
ENCODER = "encoder"
REPORT, SHEET = "report.html", "sheet.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be measured."""

    catalog: Catalog
    detector: str
    encoder: str
    split: str | None
    where: tuple[str, str] | None
    labelled: str | None
    queries: int
    device: str

    @staticmethod
    def of(
        store: Store,
        catalog: Catalog,
        *,
        name: str | None,
        encoder: str | None,
        split: str | None,
        where: tuple[str, str] | None,
        labelled: str | None,
        queries: int,
        device: str | None,
        seed: int | None = None,
    ) -> Request:
        """With what was left out filled in.

        Raises:
            NotFoundError: there is no detector or no encoder yet.
        """
        newest = newest_detector(store, catalog.manifest.name)
        if name is None and newest is None:
            raise NotFoundError(
                f"catalogue {catalog.manifest.name} has no detector yet; make one with visnet detector train"
            )
        return Request(
            catalog=catalog,
            detector=name or newest.detector,  # type: ignore[union-attr]
            encoder=encoder or newest_encoder(store).encoder,
            split=split,
            where=where,
            labelled=labelled,
            queries=queries,
            device=device or default_device(),
        )


def evaluate_detector(
    store: Store, request: Request, settings: DetectorSettings, detection: DetectionSettings
) -> tuple[LocalisationManifest, str]:
    """Measure, and write the result with a report; what was measured before is given back.

    Args:
        settings: the seed of scenes and choices.
        detection: how the service would search.

    Returns:
        The result, and the path of its report.

    Raises:
        CatalogError: the catalogue has nothing to ask with.
        NotFoundError: no such detector, encoder, split or attribute.
    """
    started = time.monotonic()
    found_by, embedded_by = detector_manifest(store, request.detector), encoder_manifest(store, request.encoder)
    kept = {"seed": settings.seed, "queries": request.queries, "ks": list(KS), **dataclasses.asdict(detection)}
    kept["scenes"] = dataclasses.asdict(AS_TAKEN)
    about = [request.catalog.reference, request.split, request.where, request.labelled]
    localisation = f"{request.detector}-{digest_of(found_by.digest, embedded_by.digest, about, kept)}"
    directory = localisation_directory(localisation)
    path = store.path(f"{directory}/{REPORT}")
    if has_manifest(store, directory):
        return read_manifest(store, directory, LocalisationManifest), path
    measured = _Measured(store, request, settings, detection)
    manifest = LocalisationManifest(
        localisation=localisation,
        detector=request.detector,
        detector_digest=found_by.digest,
        encoder=request.encoder,
        encoder_digest=embedded_by.digest,
        catalog=request.catalog.reference,
        gallery=len(measured.gallery.rows),
        precision=measured.precision(),
        asked=measured.asked(),
        settings=kept,
        command=_command(request, settings),
        seconds=round(time.monotonic() - started, 1),
    )
    shown = {name: answered.shown for name, answered in measured.answered.items()}
    store.write(f"{directory}/{REPORT}", report(manifest, shown).encode())
    store.write(f"{directory}/{SHEET}", sheet(manifest, shown))
    write_manifest(store, directory, manifest)
    return manifest, path


class _Measured:
    """All that one evaluation computes."""

    def __init__(
        self, store: Store, request: Request, settings: DetectorSettings, detection: DetectionSettings
    ) -> None:
        self._request, self._settings, self._detection = request, settings, detection
        self._detector = load_detector(store, request.detector, device=request.device)
        encoder = load_encoder(store, request.encoder, device=request.device)
        self._encoder = encoder
        self._plan = _plan(request, settings.seed)
        self.gallery = embed_gallery(request.catalog, self._plan, {ENCODER: encoder})
        self.answered: dict[str, Answered] = {}
        for name, queries in self._queries():
            self.answered[name] = asking.look(queries, encoder, self._detector, detection)
            if not self.answered[name].products:
                raise CatalogError(f"catalogue {request.catalog.reference} has no usable {name} to ask with")

    def precision(self) -> dict[str, dict[str, Any]]:
        known = {name: answered for name, answered in self.answered.items() if answered.truth}
        figures = {
            name: dataclasses.asdict(average_precision(answered.truth, answered.found))
            for name, answered in known.items()
        }
        if self._request.labelled is not None:
            figures[f"labelled photos {self._request.labelled}"] = self._on_labelled(self._request.labelled)
        return figures

    def asked(self) -> dict[str, Any]:
        bench = Bench(self.gallery.vectors[ENCODER], self.gallery.rows, device=self._request.device)
        return {
            name: asking.ask(
                answered,
                bench,
                about=self._plan.describe(boxes=0, of=len(answered.products)) if name == "photos" else name,
                ks=KS,
                weight=self._detection.category_weight,
                seed=self._settings.seed,
            )
            for name, answered in self.answered.items()
        }

    def _queries(self) -> Iterator[tuple[str, Iterator[Query]]]:
        if self._plan.kind == "photos":
            yield "photos", photo_queries(self._request.catalog, self._plan, self._encoder.preprocessing)
            return
        resize, seed = self._encoder.preprocessing.resize, self._settings.seed
        one_class = self._detector.classes == [PRODUCT]
        composed = ComposedQueries(self.gallery, most=self._request.queries, seed=seed, resize=resize)
        for number, (name, items) in enumerate(KINDS.items()):
            count = max(1, self._request.queries // len(KINDS))
            yield name, composed.queries(count, items, seed=(seed, 1, number), one_class=one_class)

    def _on_labelled(self, name: str) -> dict[str, Any]:
        hold_out = HoldOut(share=self._settings.validation_share, by="photo", seed=self._settings.seed)
        labels = Labels(catalog=self._request.catalog, labelled=name, split=None, hold_out=hold_out)
        learned = detector_manifest(self._request.catalog.store, self._request.detector).training.get("learned", {})
        rows = labels.held_out() if learned.get("labelled") == name else labels.all()
        side = self._detector.recipe.image_size
        pictures = labelled_pictures(rows, self._detector.classes, most=self._request.queries, side=side)
        return dataclasses.asdict(average_precision(pictures.truth, self._detector.detect(pictures.images)))


def _plan(request: Request, seed: int) -> Plan:
    search = SearchRequest(
        encoder=request.encoder,
        split=request.split,
        where=request.where,
        kind="photos" if request.catalog.manifest.photos and request.split else "synthetic",
        device=request.device,
    )
    return make_plan(request.catalog, search, EvaluateSettings(queries=request.queries, seed=seed))


def _command(request: Request, settings: DetectorSettings) -> str:
    options: list[tuple[str, Any]] = [("--catalog", request.catalog.manifest.name)]
    options += [("--split", request.split)] if request.split else []
    options += [("--where", "=".join(request.where))] if request.where else []
    options += [("--detector", request.detector), ("--encoder", request.encoder)]
    options += [("--labelled", request.labelled)] if request.labelled else []
    options += [("--queries", request.queries), ("--seed", settings.seed)]
    return shlex.join(["visnet", "detector", "eval", *(str(word) for option in options for word in option)])


def text_table(manifest: LocalisationManifest) -> list[str]:
    """The figures in lines."""
    lines = [f"{manifest.detector} for {manifest.encoder}, gallery of {manifest.gallery:,} pictures"]
    for name, figures in manifest.precision.items():
        lines.append(
            f"{name}: AP50 {_share(figures['ap50'])} ({_share(figures['found_ap50'])} whatever the category), "
            f"AP50:95 {_share(figures['ap50_95'])}; {figures['items']:,} items in {figures['pictures']:,} pictures"
        )
    for asked in manifest.asked.values():
        lines += ["", f"{asked.queries:,} {asked.about} ({_listed(asked.located)})"]
        lines.append(f"{'recall':20}" + "".join(f"{f'@{k}':>7}" for k in KS))
        for way, reached in asked.ways.items():
            against = reached.against_whole.get("1")
            beside = f"   @1 {against.difference:+.3f} [{against.low:+.3f}, {against.high:+.3f}]" if against else ""
            lines.append(f"{way:20}" + "".join(f"{value:7.3f}" for value in reached.recall_at_k.values()) + beside)
    verdict = "items" if manifest.helps else "the whole photo"
    return [*lines, "", f"a release with this detector searches for {verdict} by default"]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items()))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
