"""The fold in this process, and what the tests of it compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests import embedding
from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.batch.fold import rules_like
from visnet.batch.recommend import run_pass
from visnet.batch.recommend_runner import InProcess as RecommendInProcess
from visnet.platform import index_build
from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory, find_embeddings
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.imaging import content_hash
from visnet.platform.index import IndexManifest, read_index
from visnet.platform.index_build import build, index_id
from visnet.platform.index_scatter import Sources
from visnet.platform.journal import Journal, JournalImage, Upsert
from visnet.platform.manifest import has_manifest
from visnet.platform.recommendations import RecommendationsManifest
from visnet.platform.release import create_release, promote
from visnet.platform.settings import IndexSettings, RecommendSettings
from visnet.platform.store import Store

RULES = RecommendSettings(k=3, gpus_per_shard=0.0, same_category=True)


@dataclass(frozen=True, kw_only=True)
class StepsHere:
    """The passes, one after the other."""

    store: Store
    shards: int = 2

    def embed(self, catalog: Catalog, encoder: str, further: Sequence[str]) -> EmbeddingsManifest:
        return embed(self.store, catalog, encoder, embedding.SETTINGS, InProcess(), further=further)[0]

    def build_index(self, catalog: Catalog, encoder: str) -> IndexManifest:
        made = find_embeddings(self.store, encoder, catalog.manifest.name, catalog.manifest.version)
        sources, settings = Sources(catalog, made), IndexSettings(shards=self.shards)
        index = index_id(sources, settings)
        if has_manifest(self.store, f"indexes/{index}"):
            return read_index(self.store, index)
        return build(sources, settings, index_build.InProcess())

    def recommend(self, index: IndexManifest, like: RecommendationsManifest) -> RecommendationsManifest:
        return self.recommended(index, rules_like(RecommendSettings(gpus_per_shard=0.0), like))

    def recommended(self, index: IndexManifest, rules: RecommendSettings) -> RecommendationsManifest:
        runner = RecommendInProcess(self.store, index, rules)
        return run_pass(self.store, index, rules, runner, started=time.monotonic())[0]


def first_release(store: Store, catalog: Catalog, encoder: str, rules: RecommendSettings = RULES) -> str:
    """A release of a catalogue, now current."""
    steps = StepsHere(store=store)
    steps.embed(catalog, encoder, ())
    index = steps.build_index(catalog, encoder)
    made = steps.recommended(index, replace(rules))
    release = create_release(store, index=index.index, recommendations=made.recommendations, evaluation={}).release
    promote(store, release, force=True)
    return release


def write_live(
    store: Store,
    journal: Journal,
    encoder: str,
    product: str,
    *pictures: bytes,
    embedded: bool = True,
    **attributes: Any,
) -> dict[str, np.ndarray]:
    """Write a product with vectors that no network would make of its pictures; returns these by content hash."""
    made_by = encoder_manifest(store, encoder)
    known = {content_hash(data): data for data in pictures}
    vectors = {key: _some_vector(key, made_by.dimension) for key in known} if embedded else {}
    images = tuple(JournalImage(image_id=f"{product}#{n}", content_hash=key) for n, key in enumerate(known))
    write = Upsert(product_id=product, category="shoes", attributes=attributes, images=images)
    journal.append([write], images=known, vectors={made_by.digest: vectors})
    return vectors


def _some_vector(seed: str, dimension: int) -> np.ndarray:
    vector_D = np.random.default_rng(int(seed[:8], 16)).normal(size=dimension)
    unit: np.ndarray = (vector_D / np.linalg.norm(vector_D)).astype(np.float16)
    return unit


def vectors_of(store: Store, encoder: str, catalog: Catalog) -> dict[str, np.ndarray]:
    """The vectors of a catalogue by content hash, as any reader of Parquet finds them."""
    made = find_embeddings(store, encoder, catalog.manifest.name, catalog.manifest.version)
    directory = embeddings_directory(encoder, made.catalog, made.catalog_version, attempt=made.attempt)
    tables = [pq.ParquetFile(store.path(f"{directory}/{part}")).read() for part in made.parts]
    return {row["content_hash"]: np.array(row["vector"], np.float16) for table in tables for row in table.to_pylist()}
