"""The journal's vectors, laid out as embeddings are, so that a catalogue pass reuses them.

A product that was written live was embedded when it was accepted. The pass over the catalogue that it is folded into
takes these vectors before all others: what is searched stays what it was, to the byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from visnet.batch.embed_parts import parquet, part_file
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_schema, vector_array
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.fold import Fold, fold_work
from visnet.platform.journal import Journal, JournalImage, Upsert
from visnet.platform.manifest import has_manifest, write_manifest
from visnet.platform.store import Store

IMAGES = 10_000
"""Pictures of a part."""


def write_vectors(store: Store, fold: Fold, journal: Journal, encoder: str) -> str:
    """Write the vectors that the journal has of this encoder and of what is folded.

    Returns:
        The directory, for `embed`. It goes with the fold.
    """
    made_by = encoder_manifest(store, encoder)
    directory = f"{fold_work(fold.catalog)}/vectors-{fold.version}-{made_by.digest[:12]}"
    if has_manifest(store, directory):
        return directory
    parts: list[str] = []
    images = 0
    for pictures in _pictures(journal, fold):
        table = _table(pictures, journal.vectors(made_by.digest, set(pictures)), made_by.dimension)
        parts.append(part_file(len(parts)))
        images += len(table)
        store.write(f"{directory}/{parts[-1]}", parquet(table))
    manifest = EmbeddingsManifest(
        encoder=made_by.encoder,
        encoder_digest=made_by.digest,
        dimension=made_by.dimension,
        catalog=fold.catalog,
        catalog_version=fold.version,
        parts=parts,
        images=images,
        embedded=images,
        quarantined=0,
        settings={},
    )
    write_manifest(store, directory, manifest)
    return directory


def _pictures(journal: Journal, fold: Fold) -> Iterator[dict[str, JournalImage]]:
    """The pictures of what was upserted by their content hash, a part's at a time."""
    images = (
        image
        for entry in journal.latest(fold.after, upto=fold.head)
        if isinstance(entry.write, Upsert)
        for image in entry.write.images
    )
    while some := list(itertools.islice(images, IMAGES)):
        yield {image.content_hash: image for image in some}


def _table(pictures: dict[str, JournalImage], vectors: dict[str, np.ndarray], dimension: int) -> pa.Table:
    """The pictures that have a vector; those of a write that waits for one are left to the pass."""
    known = [pictures[content_hash] for content_hash in vectors]
    names = [image.image_id for image in known]
    vector_ND = np.stack(list(vectors.values())) if vectors else np.empty((0, dimension), np.float16)
    columns = [names, names, list(vectors), range(len(known)), vector_array(vector_ND)]
    return pa.table([_column(column) for column in columns], schema=embeddings_schema(dimension))


def _column(values: object) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values)
