"""The catalogue pass: every usable image of a catalogue gets its vector, and every other one its reason.

    embeddings/<encoder>/<catalog>-<version>/    see platform/embeddings.py
    work/embeddings/<encoder>/…                  the plan and the finished units of a pass under way; goes with its end

It plans (`embed_plan.py`), computes what is new in units (`embed_units.py`), and puts new and reused vectors together
part by part (`embed_parts.py`), each on Ray (`embed_job.py`). Killed at any moment, the next run goes on with the same
plan at the units that are missing, and ends with the very files of an undisturbed run. It is bound by decoding for
tiny pictures and by the network for photos: benchmarks/embed.py.
"""

from __future__ import annotations

import dataclasses
import logging
import time

import pyarrow as pa

from visnet.batch.embed_job import OnRay, Runner, Work
from visnet.batch.embed_parts import PartAccount, PartWriter, parquet, part_file
from visnet.batch.embed_plan import PlanFiles, missing_units, open_plan, work_directory
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import QUARANTINE, QUARANTINE_SCHEMA, EmbeddingsManifest, embeddings_directory
from visnet.platform.encoder import EncoderManifest, encoder_manifest, recipe_of
from visnet.platform.errors import StoreError
from visnet.platform.manifest import has_manifest, read_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

logger = logging.getLogger(__name__)


def embed(
    store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings, runner: Runner | None = None
) -> tuple[EmbeddingsManifest, dict[str, float]]:
    """Embed a catalogue.

    Args:
        runner: the connected Ray cluster if left out.

    Returns:
        The manifest, and `seconds` and `images_per_s` of the pass (0 where it stood already).

    Raises:
        StoreError: the accounts do not add up, or no image of the catalogue can be used.
    """
    made_by = encoder_manifest(store, encoder)
    directory = embeddings_directory(encoder, catalog.manifest.name, catalog.manifest.version)
    if has_manifest(store, directory):
        store.delete_directory(work_directory(encoder, catalog))  # a run that was killed between the two
        return read_manifest(store, directory, EmbeddingsManifest), {"seconds": 0.0, "images_per_s": 0.0}
    started = time.monotonic()
    files = _open_plan(catalog, made_by, settings)
    accounts = _run(catalog, made_by, files, settings, runner or OnRay(), directory)
    manifest = _manifest(catalog, made_by, files, settings, accounts)
    write_manifest(store, directory, manifest)
    store.delete_directory(files.directory)
    seconds = time.monotonic() - started
    return manifest, {"seconds": round(seconds, 1), "images_per_s": round(manifest.images / seconds, 1)}


def _run(
    catalog: Catalog,
    made_by: EncoderManifest,
    files: PlanFiles,
    settings: EmbedSettings,
    runner: Runner,
    directory: str,
) -> list[PartAccount]:
    """Compute what is new, write the parts and the quarantine; the accounts in the catalogue's order."""
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
    writer = PartWriter(catalog=catalog, files=files, directory=directory, dimension=made_by.dimension)
    accounts: list[PartAccount] = []
    with progress("writing", total=catalog.manifest.images, unit="images") as bar:
        for account in runner.map(writer, range(len(catalog.manifest.parts))):
            accounts.append(account)
            bar.update(account.rows)
    accounts.sort(key=lambda account: account.part)
    quarantine = pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(account.quarantine for account in accounts)])
    catalog.store.write(f"{directory}/{QUARANTINE}", parquet(quarantine))
    return accounts


def _open_plan(catalog: Catalog, made_by: EncoderManifest, settings: EmbedSettings) -> PlanFiles:
    files = open_plan(catalog, made_by, settings, crop=recipe_of(made_by).preprocessing.crop)
    plan, images = files.plan, catalog.manifest.images
    done = plan.todo - plan.rows_of(missing_units(files))
    logger.info(
        "%s images: %s to be read, of which %s are done; %s have their vector already",
        *(f"{count:,}" for count in (images, plan.todo, done, images - plan.todo)),
    )
    return files


def _manifest(
    catalog: Catalog,
    made_by: EncoderManifest,
    files: PlanFiles,
    settings: EmbedSettings,
    accounts: list[PartAccount],
) -> EmbeddingsManifest:
    """The accounts of the parts added up, and checked."""
    images = catalog.manifest.images
    embedded, reused = sum(account.embedded for account in accounts), sum(account.reused for account in accounts)
    quarantined = sum(len(account.quarantine) for account in accounts)
    if images != embedded + reused + quarantined:
        raise StoreError(
            f"{images} images went in, but {embedded} embedded + {reused} reused + {quarantined} quarantined came out"
        )
    if not embedded + reused:
        catalog.store.delete_directory(files.directory)  # the next run is to try again
        reason = next(account.quarantine["reason"][0].as_py() for account in accounts if len(account.quarantine))
        raise StoreError(f"none of the {images} images can be used; the first: {reason}")
    return EmbeddingsManifest(
        encoder=made_by.encoder,
        encoder_digest=made_by.digest,
        dimension=made_by.dimension,
        catalog=catalog.manifest.name,
        catalog_version=catalog.manifest.version,
        parts=[part_file(account.part) for account in accounts],
        images=images,
        embedded=embedded,
        reused=reused,
        quarantined=quarantined,
        sources=files.plan.sources,
        settings=dataclasses.asdict(settings),
    )
