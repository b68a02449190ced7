"""Evaluation as search: photos of products that training never saw, looked up in a gallery of product pictures.

The queries are synthetic wild views, made from the gallery's products with a seed of their own; the gallery holds the
plain pictures. Next to the encoder stand two baselines on the same queries: raw pixels, and the same network
untrained. All search with the shard's own code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from visnet.platform.catalog import Catalog
from visnet.platform.contact_sheet import Row, contact_sheet
from visnet.platform.encoder import Encoder, EncoderManifest, encoder_manifest, load_encoder
from visnet.platform.errors import CatalogError, ImageError
from visnet.platform.evaluation import EvaluationManifest, Figures
from visnet.platform.fetch import image_bytes
from visnet.platform.manifest import digest_of, has_manifest, read_manifest, write_manifest
from visnet.platform.metrics import precision_at_k, recall_at_k
from visnet.platform.networks import make_recipe
from visnet.platform.networks.pixels import Pixels
from visnet.platform.queries import wild_queries
from visnet.platform.settings import EvaluateSettings
from visnet.platform.shard import Shard
from visnet.platform.store import Store

# Q queries, N gallery rows, K results

PRECISION_K = 20
SHEET_ROWS = 12
SHEET_RESULTS = 8


@dataclass(frozen=True)
class Gallery:
    """The pictures searched, sorted by category as a shard wants them, and the queries made from some of them."""

    rows: pa.Table
    images: list[bytes]
    query_rows: np.ndarray
    """The gallery row of the product in each query."""
    photos: list[bytes]


def evaluate(
    store: Store, catalog: Catalog, encoder: str, settings: EvaluateSettings, *, where: tuple[str, str] | None
) -> EvaluationManifest:
    """Evaluate an encoder and write the result, with a contact sheet, as an artifact. Repeated calls give it back.

    Args:
        where: the gallery is the rows of which this attribute has this value, best those not trained on.
    """
    made = encoder_manifest(store, encoder)
    loaded = load_encoder(store, encoder)
    side = loaded.preprocessing.crop
    queries_digest = digest_of(catalog.reference, where, dataclasses.asdict(settings), side)
    evaluation = f"{encoder}-{queries_digest}"
    directory = f"evaluations/{evaluation}"
    if has_manifest(store, directory):
        return read_manifest(store, directory, EvaluationManifest)
    gallery, skipped = _gallery(catalog, loaded, settings, where)
    figures, found_QK = _measure(loaded, gallery, settings)
    baselines = {name: _measure(make(), gallery, settings)[0] for name, make in _baselines(made, side).items()}
    store.write(f"{directory}/contact-sheet.png", _sheet(gallery, found_QK))
    manifest = EvaluationManifest(
        evaluation=evaluation,
        encoder=encoder,
        encoder_digest=made.digest,
        catalog=catalog.reference,
        where=list(where) if where else None,
        gallery=len(gallery.rows),
        queries=len(gallery.photos),
        queries_kind="synthetic wild views of gallery products",
        queries_digest=queries_digest,
        skipped=skipped,
        settings=dataclasses.asdict(settings),
        figures=figures,
        baselines=baselines,
    )
    write_manifest(store, directory, manifest)
    return manifest


def _baselines(made: EncoderManifest, side: int) -> dict[str, Callable[[], Encoder]]:
    import torch

    def untrained() -> Encoder:
        torch.manual_seed(0)
        return Encoder(make_recipe(**{k: v for k, v in made.recipe.items() if k != "preprocessing"}))

    return {"pixels": lambda: Encoder(Pixels(size=side)), "untrained": untrained}


def _gallery(
    catalog: Catalog, encoder: Encoder, settings: EvaluateSettings, where: tuple[str, str] | None
) -> tuple[Gallery, int]:
    columns = ["image_id", "product_id", "category", "content_hash", "image", "uri"]
    table = catalog.read(columns, where=where).sort_by([("category", "ascending"), ("image_id", "ascending")])
    images = [_usable(encoder, row["image"], row["uri"]) for row in table.select(["image", "uri"]).to_pylist()]
    usable = [row for row, image in enumerate(images) if image is not None]
    if not usable:
        where_text = f" with {where[0]}={where[1]}" if where else ""
        raise CatalogError(f"catalogue {catalog.reference} has no usable pictures{where_text} to evaluate on")
    kept = [image for image in images if image is not None]
    random = np.random.default_rng(settings.seed)
    query_rows = np.sort(random.permutation(len(usable))[: settings.queries])
    photos = wild_queries([kept[row] for row in query_rows], seed=settings.seed, side=encoder.preprocessing.crop)
    gallery = Gallery(table.drop_columns(["image", "uri"]).take(usable), kept, query_rows, photos)
    return gallery, len(images) - len(usable)


def _usable(encoder: Encoder, image: bytes | None, uri: str | None) -> bytes | None:
    """The picture's bytes, or None if it can't be read or decoded."""
    try:
        data = image_bytes(image, uri)
        encoder.pixels(data)
    except ImageError:
        return None
    return data


def _measure(encoder: Encoder, gallery: Gallery, settings: EvaluateSettings) -> tuple[Figures, np.ndarray]:
    vector_ND = encoder.encode(gallery.images)
    shard = Shard(vector_ND, gallery.rows)
    product_N = np.array(gallery.rows["product_id"].to_pylist(), dtype=object)
    category_N = np.array(gallery.rows["category"].to_pylist(), dtype=object)
    deepest = min(max(settings.ks), len(shard))
    hits = shard.search(encoder.encode(gallery.photos), deepest, collapse_duplicates=False)
    found_QK = product_N[hits.row_QK]
    wanted_Q = product_N[gallery.query_rows]
    nearest = min(PRECISION_K, len(shard) - 1)
    others = shard.search(vector_ND[gallery.query_rows], nearest + 1, collapse_duplicates=False)
    label_QK = np.stack(
        [
            category_N[row_K[row_K != own][:nearest]]
            for row_K, own in zip(others.row_QK, gallery.query_rows, strict=True)
        ]
    )
    figures = Figures(
        recall_at_k={str(k): round(recall_at_k(found_QK, wanted_Q, min(k, deepest)), 4) for k in settings.ks},
        category_precision_at_20=round(precision_at_k(label_QK, category_N[gallery.query_rows], nearest), 4),
    )
    return figures, hits.row_QK


def _sheet(gallery: Gallery, found_QK: np.ndarray) -> bytes:
    step = max(1, len(gallery.photos) // SHEET_ROWS)
    rows = []
    for query in range(0, len(gallery.photos), step)[:SHEET_ROWS]:
        own = gallery.query_rows[query]
        results = [
            (gallery.images[row], f"{rank}. {gallery.rows['category'][int(row)].as_py()}", bool(row == own))
            for rank, row in enumerate(found_QK[query, :SHEET_RESULTS], start=1)
        ]
        ranks = np.flatnonzero(found_QK[query] == own)
        rank = int(ranks[0]) + 1 if len(ranks) else None
        rows.append(Row(query=gallery.photos[query], expected=gallery.images[own], results=results, rank=rank))
    return contact_sheet(
        rows, title=f"Synthetic photos (wild views) and what they found among {len(gallery.rows):,} products"
    )
