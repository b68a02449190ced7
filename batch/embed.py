"""The catalogue pass on Ray Data: read, decode, encode on actors, write Parquet.

Decoding runs on CPU tasks beside GPU actors; where the actors ask for CPUs alone, Ray Data fuses both into them.

    embeddings/<encoder>/<catalog>-<version>/part-*.parquet      image_id, product_id, content_hash, vector (float16)
    embeddings/<encoder>/<catalog>-<version>/quarantine.parquet  image_id, product_id, reason

A broken image goes to the quarantine and the pass goes on; rows in = embedded + quarantined, checked before the
manifest is written. The pass is bound by decoding for photos and by the network for tiny pictures.
"""

from __future__ import annotations

import dataclasses
import io
import time
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visnet.platform.catalog import Catalog
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory, vector_array
from visnet.platform.encoder import Encoder, encoder_manifest, load_encoder
from visnet.platform.errors import ImageError, StoreError
from visnet.platform.fetch import image_bytes
from visnet.platform.imaging import Preprocessing, content_hash
from visnet.platform.manifest import has_manifest, read_manifest, write_manifest
from visnet.platform.networks import make_recipe
from visnet.platform.progress import progress
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

if TYPE_CHECKING:
    import ray.data

# B batch, H height, W width, C channels, D embedding

BLOCK_ROWS = 1_000
ROWS_PER_PART = 20_000
QUARANTINE_SCHEMA = pa.schema([("image_id", pa.string()), ("product_id", pa.string()), ("reason", pa.string())])
ACCOUNT_SCHEMA = pa.schema([("part", pa.string()), ("rows", pa.int64()), *QUARANTINE_SCHEMA])


def embed(
    store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings
) -> tuple[EmbeddingsManifest, dict[str, float]]:
    """Embed a catalogue on a connected Ray cluster.

    Returns:
        The manifest, and `seconds` and `images_per_s` of the pass (0 where it stood already).

    Raises:
        StoreError: the accounts do not add up.
    """
    made_by = encoder_manifest(store, encoder)
    directory = embeddings_directory(encoder, catalog.manifest.name, catalog.manifest.version)
    if has_manifest(store, directory):
        return read_manifest(store, directory, EmbeddingsManifest), {"seconds": 0.0, "images_per_s": 0.0}
    store.delete_directory(directory)  # what a killed pass left
    store.make_directory(directory)
    started = time.monotonic()
    images = catalog.manifest.images
    written = _pass(store, catalog, encoder, settings, directory)
    parts, embedded, quarantined = _run(store, directory, written, images)
    seconds = time.monotonic() - started
    if images != embedded + quarantined:
        raise StoreError(f"{images} images went in, but {embedded} embedded + {quarantined} quarantined came out")
    manifest = EmbeddingsManifest(
        encoder=encoder,
        encoder_digest=made_by.digest,
        dimension=made_by.dimension,
        catalog=catalog.manifest.name,
        catalog_version=catalog.manifest.version,
        parts=sorted(parts),
        images=images,
        embedded=embedded,
        quarantined=quarantined,
        settings=dataclasses.asdict(settings),
    )
    write_manifest(store, directory, manifest)
    return manifest, {"seconds": round(seconds, 1), "images_per_s": round(images / seconds, 1)}


def _pass(store: Store, catalog: Catalog, encoder: str, settings: EmbedSettings, directory: str) -> ray.data.Dataset:
    import ray.data

    recipe = {k: v for k, v in encoder_manifest(store, encoder).recipe.items() if k != "preprocessing"}
    columns = ["image_id", "product_id", "image", "uri", "content_hash"]
    rows = ray.data.read_parquet(catalog.part_paths(), filesystem=store.filesystem, columns=columns)
    decoded = rows.repartition(target_num_rows_per_block=BLOCK_ROWS).map_batches(
        Decode(make_recipe(**recipe).preprocessing), batch_format="pyarrow", batch_size=BLOCK_ROWS
    )
    vectors = decoded.map_batches(
        Encode,
        fn_constructor_kwargs={"store": store, "encoder": encoder, "settings": settings},
        batch_format="numpy",
        batch_size=BLOCK_ROWS,
        compute=ray.data.ActorPoolStrategy(size=settings.actors),
        num_cpus=settings.cpus_per_actor,
        num_gpus=settings.gpus_per_actor or None,
    )
    return vectors.repartition(target_num_rows_per_block=ROWS_PER_PART).map_batches(
        Write(store, directory), batch_format="pyarrow", batch_size=None
    )


class Decode:
    """Catalogue rows -> uint8 pixels and, where there are none, the reason."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __call__(self, rows: pa.Table) -> dict[str, np.ndarray]:
        size = self._preprocessing.crop
        pixel_BHWC = np.zeros((len(rows), size, size, 3), np.uint8)
        hashes, reasons = [], []
        for number, row in enumerate(rows.to_pylist()):
            digest, reason = row["content_hash"] or "", ""
            try:
                data = image_bytes(row["image"], row["uri"])
                digest = digest or content_hash(data)
                pixel_BHWC[number] = self._preprocessing.pixels(data)
            except ImageError as error:
                reason = str(error)
            hashes.append(digest)
            reasons.append(reason)
        return {
            "image_id": np.array(rows["image_id"].to_pylist(), dtype=object),
            "product_id": np.array(rows["product_id"].to_pylist(), dtype=object),
            "content_hash": np.array(hashes, dtype=object),
            "reason": np.array(reasons, dtype=object),
            "pixels": pixel_BHWC,
        }


class Encode:
    """Pixels -> vectors, on an actor that holds the encoder."""

    def __init__(self, store: Store, encoder: str, settings: EmbedSettings) -> None:
        import torch

        torch.set_num_threads(max(1, int(settings.cpus_per_actor)))
        self._encoder: Encoder = load_encoder(store, encoder, device="cuda" if settings.gpus_per_actor else "cpu")
        self._batch_size = settings.batch_size

    def __call__(self, batch: dict[str, np.ndarray]) -> pa.Table:
        usable = batch["reason"] == ""
        vector_BD = np.zeros((len(usable), self._encoder.recipe.dimension), np.float32)
        vector_BD[usable] = self._encoder.encode_pixels(batch["pixels"][usable], batch_size=self._batch_size)
        columns: dict[str, Any] = {
            name: pa.array(batch[name].tolist(), pa.string())
            for name in ("image_id", "product_id", "content_hash", "reason")
        }
        return pa.table({**columns, "vector": vector_array(vector_BD)})


class Write:
    """Vectors -> a part file, written where they are; passes on only what the accounts need.

    A part gets a name of its own: where a task is run twice, the part of the lost run is in no manifest.
    """

    def __init__(self, store: Store, directory: str) -> None:
        self._store, self._directory = store, directory

    def __call__(self, batch: pa.Table) -> pa.Table:
        usable = pc.equal(batch["reason"], "")
        rows = batch.filter(usable).drop_columns(["reason"])
        name = f"part-{uuid.uuid4().hex}.parquet"
        if len(rows):
            self._store.write(f"{self._directory}/{name}", _parquet(rows))
        written = pa.table({"part": [name if len(rows) else None], "rows": [len(rows)]})
        broken = batch.filter(pc.invert(usable)).select(QUARANTINE_SCHEMA.names)
        return pa.concat_tables([_accounts(written), _accounts(broken)])


def _accounts(table: pa.Table) -> pa.Table:
    """The table with every column of `ACCOUNT_SCHEMA`, null where it has none."""
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in ACCOUNT_SCHEMA
    ]
    return pa.table(columns, schema=ACCOUNT_SCHEMA)


def _run(store: Store, directory: str, written: ray.data.Dataset, images: int) -> tuple[list[str], int, int]:
    """Run the pass: the parts it wrote, the rows in them and the rows in quarantine."""
    parts: list[str] = []
    embedded = 0
    broken = [QUARANTINE_SCHEMA.empty_table()]
    with progress("embedding", total=images, unit="images") as bar:
        account: pa.Table
        for account in written.iter_batches(batch_size=None, batch_format="pyarrow"):
            lost = account.filter(pc.is_valid(account["reason"])).select(QUARANTINE_SCHEMA.names)
            rows = pc.sum(account["rows"]).as_py() or 0
            broken.append(lost)
            embedded += rows
            parts += [name for name in account["part"].to_pylist() if name is not None]
            bar.update(rows + len(lost))
    quarantine = pa.concat_tables(broken)
    store.write(f"{directory}/quarantine.parquet", _parquet(quarantine))
    return parts, embedded, len(quarantine)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
