"""From a catalogue to a triplet table: embed by all scorers, gather by category, rank and draw, and look at some.

The stages meet in the store. What runs them, one after the other in this process or on a cluster, is a `Runner`; the
table is the same. The vectors (`similarities/<id>`) are kept: embedding is most of the work, and does not depend on
seed, ranges or street photos.

Source: Shankar et al. (arXiv:1703.02344), section 4.1.
"""

from __future__ import annotations

import collections
import dataclasses
from dataclasses import dataclass

import pyarrow as pa

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.manifest import digest_of, has_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.settings import TripletSettings
from visnet.platform.store import Store
from visnet.platform.triplets import STREET, TripletsManifest, read_triplets, triplets_directory
from visnet.train.examples import plan_examples
from visnet.train.triplets.anchors import Context
from visnet.train.triplets.blocks import Similarities, SimilaritiesManifest
from visnet.train.triplets.ranges import check_ranges
from visnet.train.triplets.rows import COUNTED, DrawJob, Made, plan_jobs
from visnet.train.triplets.runner import Runner
from visnet.train.triplets.scorers import DEEP, check_names, make_scorers
from visnet.train.triplets.sheet import sheets
from visnet.train.triplets.similarity import Filters, score_pictures, similarities_directory

RESOURCES = ("actors", "gpus_per_actor", "cpus_per_actor")
"""Settings that do not change the table."""
EMPTY = "categories: no usable picture that fits the filters"
NO_SHOP_PICTURE = "photos: no usable picture of their product in their category"
ONE_CATEGORY = "there is one category only: all negatives are in-class"


@dataclass(frozen=True)
class Wanted:
    """What of a catalogue the triplets are made of."""

    filters: Filters
    photo_split: str | None
    """The split of the street anchors; None: there are none."""


def plan(catalog: Catalog, *, split: str | None, where: tuple[str, str] | None, street: bool) -> Wanted:
    """Decide which pictures and photos are taken.

    Args:
        split: of the photos, and of the shop pictures where they have a column `split`.
        where: only shop pictures of which this attribute has this value.

    Raises:
        CatalogError: street triplets of a catalogue without photos, or without saying which split.
        NotFoundError: no such split or attribute.
    """
    splits = catalog.manifest.photo_splits
    if street and not catalog.manifest.photos:
        raise CatalogError(f"catalogue {catalog.manifest.name} has no street photos: leave out --street")
    if street and split is None:
        known = ", ".join(f"{name} ({count:,})" for name, count in splits.items())
        raise CatalogError(
            f"catalogue {catalog.manifest.name} has photos in the splits {known}: say which with --split"
        )
    if split in splits and "split" not in catalog.manifest.attributes and not street:
        split = None  # names photos only, which are not asked for
    examples = plan_examples(catalog, split=split, where=where, kind="photos" if street else "images")
    return Wanted(examples.filters, split if street else None)


def check_settings(settings: TripletSettings) -> None:
    """What can be found wrong before any work: raises ValueError for unknown scorers, or ranges that overlap."""
    check_names(settings.scorers)
    check_ranges(settings)


def make_triplets(
    store: Store, catalog: Catalog, wanted: Wanted, settings: TripletSettings, runner: Runner
) -> tuple[TripletsManifest, bool]:
    """Make a triplet table.

    Returns:
        Its manifest, and whether it stood already.

    Raises:
        ValueError: as `check_settings`.
        CatalogError: there is no picture, or not one triplet.
        NotFoundError: the pretrained weights of the scorer deep can't be had.
    """
    check_settings(settings)
    scorers = make_scorers(settings.scorers, settings)
    scored = score_pictures(store, catalog, wanted.filters, scorers, runner)
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name not in RESOURCES}
    triplets = f"{catalog.manifest.name}-{digest_of(scored.similarities, wanted.photo_split, chosen)}"
    directory = triplets_directory(triplets)
    if has_manifest(store, directory):
        return read_triplets(store, triplets), True
    store.delete_directory(directory)  # what a killed run left
    store.make_directory(directory)
    made = _draw(store, directory, catalog, wanted, settings, scored, runner)
    ranks = _rank_lines(settings)
    for scorer, sheet in sheets(catalog, pa.concat_tables([one.samples for one in made]), ranks).items():
        store.write(f"{directory}/contact-sheet-{scorer}.png", sheet)
    manifest = TripletsManifest(
        triplets=triplets,
        catalog=catalog.manifest.name,
        catalog_version=catalog.manifest.version,
        filters=dict(wanted.filters),
        photo_split=wanted.photo_split,
        seed=settings.seed,
        settings=dataclasses.asdict(settings),
        scorers=scored.scorers,
        similarities=scored.similarities,
        pictures=sum(scored.categories.values()),
        parts=[one.part for one in made if one.part is not None],
        rows=sum(one.rows for one in made),
        counts={name: _sum([one.counts[name] for one in made]) for name in COUNTED},
        skipped=_skipped(catalog, wanted, scored, made),
        notes=_notes(wanted, settings, scored),
    )
    if not manifest.rows:
        why = "; ".join(f"{reason}: {count:,}" for reason, count in manifest.skipped.items())
        raise CatalogError(f"catalogue {catalog.reference} gives not one triplet ({why})")
    write_manifest(store, directory, manifest)
    return manifest, False


def _draw(
    store: Store,
    directory: str,
    catalog: Catalog,
    wanted: Wanted,
    settings: TripletSettings,
    scored: SimilaritiesManifest,
    runner: Runner,
) -> list[Made]:
    """What all jobs made, by their numbers."""
    similarities = Similarities(store, similarities_directory(scored.similarities), scored.categories)
    draw = DrawJob(
        store=store,
        directory=directory,
        catalog=catalog,
        context=Context(similarities=similarities, scorers=settings.scorers, settings=settings, device=runner.device),
        photo_split=wanted.photo_split,
    )
    made = {}
    with progress("drawing", total=sum(scored.categories.values()), unit="anchors") as bar:
        for one in runner.map(draw, plan_jobs(similarities)):
            made[one.number] = one
            bar.update(one.pictures)
    return [made[number] for number in sorted(made)]


def _skipped(catalog: Catalog, wanted: Wanted, scored: SimilaritiesManifest, made: list[Made]) -> dict[str, int]:
    counts = collections.Counter(_sum([one.skipped for one in made]))
    counts.update({f"pictures: {reason}": count for reason, count in scored.broken.items()})
    counts[EMPTY] += len(catalog.manifest.categories) - len(scored.categories)
    if wanted.photo_split is not None:
        counts[NO_SHOP_PICTURE] += catalog.manifest.photo_splits[wanted.photo_split] - sum(one.photos for one in made)
    return {reason: count for reason, count in sorted(counts.items()) if count}


def _notes(wanted: Wanted, settings: TripletSettings, scored: SimilaritiesManifest) -> list[str]:
    notes = [ONE_CATEGORY] if len(scored.categories) == 1 else []
    if wanted.photo_split is not None and DEEP not in settings.scorers:
        notes.append(f"without the scorer {DEEP}, street negatives are ranked by {settings.scorers[0]}")
    return notes


def _rank_lines(settings: TripletSettings) -> dict[str, str]:
    """What the ranks on a scorer's contact sheet mean."""
    first, last = settings.in_class_ranks
    ranks = f"positives: ranks 1 to {settings.positive_ranks}; in-class negatives: ranks {first} to {last}"
    of = f"in a category of {settings.reference_size:,} pictures or more, in proportion in a smaller one"
    street = f"in-class negatives: ranks 1 to {last} from the positive, other products; {of}"
    return {**dict.fromkeys(settings.scorers, f"{ranks}, {of}"), STREET: street}


def _sum(counts: list[dict[str, int]]) -> dict[str, int]:
    """The sums by key, sorted."""
    total: collections.Counter[str] = collections.Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
