"""The catalogue pass: every usable image of a catalogue gets its vector, and every other one its reason.

    embeddings/<encoder>/<catalog>-<version>/    see platform/embeddings.py
    work/embeddings/<encoder>/…                  the plan and the finished units of a pass under way; goes with its end

It plans (`embed_plan.py`), computes what is new in units (`embed_units.py`), and puts new and reused vectors together
part by part (`embed_parts.py`), each on Ray (`embed_job.py`). Killed at any moment, the next run goes on with the same
plan at the units that are missing, and ends with the very files of an undisturbed run. It is bound by decoding for
tiny pictures and by the network for photos: benchmarks/embed_pass.py.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

import pyarrow as pa

from visnet.batch.embed_job import OnRay, Runner, Work
from visnet.batch.embed_parts import PartAccount, PartWriter, parquet, part_file
from visnet.batch.embed_plan import Goal, PlanFiles, missing_units, open_plan
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import QUARANTINE, QUARANTINE_SCHEMA, EmbeddingsManifest, find_embeddings
from visnet.platform.encoder import recipe_of
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.errors import StoreError
from visnet.platform.manifest import has_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

logger = logging.getLogger(__name__)


def embed(
    store: Store,
    catalog: Catalog,
    encoder: str,
    settings: EmbedSettings,
    runner: Runner | None = None,
    *,
    retry: bool = False,
    further: Sequence[str] = (),
) -> tuple[EmbeddingsManifest, dict[str, float]]:
    """Embed a catalogue.

    Args:
        runner: the connected Ray cluster if left out.
        retry: if the pass has finished and left some in quarantine, try those again: a further attempt.
        further: see `Goal.further`.

    Returns:
        The manifest, and `seconds` and `images_per_s` of the pass (0 where it stood already).

    Raises:
        StoreError: the accounts do not add up, or no image of the catalogue can be used.
    """
    made_by = encoder_manifest(store, encoder)
    crop = recipe_of(made_by).preprocessing.crop
    goal = Goal(catalog=catalog, made_by=made_by, crop=crop, further=tuple(further))
    with store.lock(goal.work):  # the same pass twice at once: the second finds what the first has made
        if has_manifest(store, goal.directory):
            last = find_embeddings(store, encoder, catalog.manifest.name, catalog.manifest.version)
            goal = dataclasses.replace(goal, attempt=last.attempt)
            store.delete_directory(goal.work)  # of a run that was killed between its manifest and its end
            if not (retry and last.quarantined):
                return last, {"seconds": 0.0, "images_per_s": 0.0}
            goal = dataclasses.replace(goal, attempt=last.attempt + 1)
        return _pass(goal, settings, runner or OnRay())


def _pass(goal: Goal, settings: EmbedSettings, runner: Runner) -> tuple[EmbeddingsManifest, dict[str, float]]:
    started = time.monotonic()
    files = _open_plan(goal, settings)
    accounts = _run(goal, files, settings, runner)
    manifest = _manifest(goal, files, settings, accounts)
    write_manifest(goal.catalog.store, goal.directory, manifest)
    goal.catalog.store.delete_directory(goal.work)
    seconds = time.monotonic() - started
    return manifest, {"seconds": round(seconds, 1), "images_per_s": round(manifest.images / seconds, 1)}


def _run(goal: Goal, files: PlanFiles, settings: EmbedSettings, runner: Runner) -> list[PartAccount]:
    """Compute what is new, write the parts and the quarantine; the accounts in the catalogue's order."""
    catalog, made_by = goal.catalog, goal.made_by
    work = Work(
        catalog=catalog,
        files=files,
        encoder=made_by.encoder,
        preprocessing=recipe_of(made_by).preprocessing,
        settings=settings,
    )
    if missing := missing_units(files):
        with progress("embedding", total=files.plan.rows_of(missing), unit="images") as bar:
            for rows in runner.units(work, missing):
                bar.update(rows)
    writer = PartWriter(catalog=catalog, files=files, directory=goal.directory, dimension=made_by.dimension)
    accounts: list[PartAccount] = []
    with progress("writing", total=catalog.manifest.images, unit="images") as bar:
        for account in runner.map(writer, range(len(catalog.manifest.parts))):
            accounts.append(account)
            bar.update(account.rows)
    accounts.sort(key=lambda account: account.part)
    quarantine = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(account.quarantine for account in accounts)])
    catalog.store.write(f"{goal.directory}/{QUARANTINE}", parquet(quarantine))
    return accounts


def _open_plan(goal: Goal, settings: EmbedSettings) -> PlanFiles:
    files = open_plan(goal, settings)
    plan, images = files.plan, goal.catalog.manifest.images
    done = plan.todo - plan.rows_of(missing_units(files))
    logger.info(
        "%s images: %s to be read, of which %s are done; %s have their vector already",
        *(f"{count:,}" for count in (images, plan.todo, done, images - plan.todo)),
    )
    return files


def _manifest(goal: Goal, files: PlanFiles, settings: EmbedSettings, accounts: list[PartAccount]) -> EmbeddingsManifest:
    """The accounts of the parts added up, and checked."""
    catalog, images = goal.catalog.manifest, goal.catalog.manifest.images
    embedded, reused = sum(account.embedded for account in accounts), sum(account.reused for account in accounts)
    quarantined = sum(len(account.quarantine) for account in accounts)
    if images != embedded + reused + quarantined:
        raise StoreError(
            f"{images} images went in, but {embedded} embedded + {reused} reused + {quarantined} quarantined came out"
        )
    if not embedded + reused:
        goal.catalog.store.delete_directory(goal.work)  # the next run is to try again
        reason = next(account.quarantine["reason"][0].as_py() for account in accounts if len(account.quarantine))
        raise StoreError(f"none of the {images} images can be used; the first: {reason}")
    return EmbeddingsManifest(
        encoder=goal.made_by.encoder,
        encoder_digest=goal.made_by.digest,
        dimension=goal.made_by.dimension,
        catalog=catalog.name,
        catalog_version=catalog.version,
        attempt=goal.attempt,
        parts=[part_file(account.part) for account in accounts],
        images=images,
        embedded=embedded,
        reused=reused,
        quarantined=quarantined,
        sources=files.plan.sources,
        settings=dataclasses.asdict(settings),
    )
