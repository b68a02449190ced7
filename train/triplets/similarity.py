"""The scorers' vectors as an artifact: embed what is missing, then gather it by category."""

from __future__ import annotations

import collections
import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.errors import CatalogError
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.progress import progress
from visnet.platform.store import Store
from visnet.train.triplets.blocks import BLOCK_ROWS, GatherCategory, SimilaritiesManifest, gather_jobs
from visnet.train.triplets.runner import Runner
from visnet.train.triplets.scorers import Scorer
from visnet.train.triplets.units import UNIT_ROWS, Account, DecodeUnits, plan_units, read_account

Filters = tuple[tuple[str, str], ...]


def similarities_directory(similarities: str) -> str:
    return f"similarities/{similarities}"


def score_pictures(
    store: Store, catalog: Catalog, filters: Filters, scorers: Mapping[str, Scorer], runner: Runner
) -> SimilaritiesManifest:
    """The vectors of all usable pictures that fit the filters; units that stand already are not made again.

    Raises:
        CatalogError: no picture fits, or none can be used.
    """
    described = {name: scorer.describe() for name, scorer in scorers.items()}
    digest = digest_of(dict(filters), described, UNIT_ROWS, BLOCK_ROWS)
    directory = similarities_directory(f"{catalog.reference}-{digest}")
    if has_manifest(store, directory):
        return read_manifest(store, directory, SimilaritiesManifest)
    accounts = _embed(store, directory, catalog, filters, scorers, runner)
    broken = [entry for account in accounts for entry in account.broken]
    reasons = dict(sorted(collections.Counter(reason for _, reason in broken).items()))
    categories, jobs = gather_jobs(accounts)
    if not categories:
        raise CatalogError(_nothing(catalog, filters, reasons))
    with progress("gathering by category", total=sum(categories.values()), unit="pictures") as bar:
        for pictures in runner.map(GatherCategory(store, directory, tuple(scorers)), jobs):
            bar.update(pictures)
    _write_broken(store, directory, broken)
    manifest = SimilaritiesManifest(
        similarities=f"{catalog.reference}-{digest}",
        catalog=catalog.manifest.name,
        catalog_version=catalog.manifest.version,
        filters=dict(filters),
        scorers=described,
        categories=categories,
        block_rows=BLOCK_ROWS,
        broken=reasons,
    )
    write_manifest(store, directory, manifest)
    store.delete_directory(f"{directory}/units")  # the blocks hold all of it
    return manifest


def _embed(
    store: Store, directory: str, catalog: Catalog, filters: Filters, scorers: Mapping[str, Scorer], runner: Runner
) -> list[Account]:
    """The accounts of all units, of which those of a killed pass are only read."""
    units = plan_units(catalog, filters)
    standing = set(store.names(f"{directory}/units"))
    accounts = [read_account(store, directory, unit.file) for unit in units if unit.file in standing]
    missing = [unit for unit in units if unit.file not in standing]
    first = next(iter(scorers.values()))
    decode = DecodeUnits(catalog, filters, first.recipe.preprocessing)
    total = None if filters else catalog.manifest.images
    with progress(f"scoring ({', '.join(scorers)})", total=total, unit="pictures") as bar:
        bar.update(sum(account.pictures for account in accounts))
        for account in runner.embed(missing, decode, store, directory, scorers) if missing else ():
            accounts.append(account)
            bar.update(account.pictures)
    return accounts


def _write_broken(store: Store, directory: str, broken: list[tuple[str, str]]) -> None:
    if broken:
        images, reasons = zip(*sorted(broken), strict=True)
        buffer = io.BytesIO()
        pq.write_table(pa.table({"image_id": images, "reason": reasons}), buffer)
        store.write(f"{directory}/broken.parquet", buffer.getvalue())


def _nothing(catalog: Catalog, filters: Filters, reasons: dict[str, int]) -> str:
    wanted = ", ".join(f"{column}={value}" for column, value in filters)
    why = "; ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
    return (
        f"catalogue {catalog.reference} has no usable picture{f' with {wanted}' if wanted else ''}"
        f"{f' ({why})' if why else ''}"
    )
