"""What the tests of the catalogue pass share: small sizes, a run in this process, and what it left on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import EmbeddingsManifest
from visnet.platform.settings import EmbedSettings, FetchSettings
from visnet.platform.store import Store

FETCH = FetchSettings(timeout_s=2.0, deadline_s=2.5, attempts=2, backoff_s=0.01, per_host=4, at_once=8)
SETTINGS = EmbedSettings(gpus_per_actor=0, batch_size=4, unit_rows=4, fetch=FETCH)


def run(store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings = SETTINGS) -> EmbeddingsManifest:
    return embed(store, catalog, encoder, settings, InProcess())[0]


def folder(store: Store, made: EmbeddingsManifest) -> Path:
    return Path(store.path(made.directory))


def rows_of(store: Store, made: EmbeddingsManifest) -> list[dict[str, Any]]:
    """All rows, as any reader of Parquet finds them in the directory."""
    paths = sorted(folder(store, made).glob("part-*.parquet"))
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def quarantine_of(store: Store, made: EmbeddingsManifest) -> dict[str, str]:
    rows = pq.ParquetFile(folder(store, made) / "quarantine.parquet").read().to_pylist()
    return {row["image_id"]: row["reason"] for row in rows}


def counts(made: EmbeddingsManifest) -> tuple[int, int, int, int]:
    return made.images, made.embedded, made.reused, made.quarantined
