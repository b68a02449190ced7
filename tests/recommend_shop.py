"""Small indexes to recommend from, and what every product should get, worked out the slow way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from visnet.platform.content import short_keys
from visnet.platform.imaging import content_hash
from visnet.platform.index import IndexManifest
from visnet.platform.index_gather import shard_directory
from visnet.platform.manifest import write_manifest
from visnet.platform.partition import shard_of
from visnet.platform.settings import RecommendSettings
from visnet.platform.shard_keys import product_hashes, ranks, write_keys
from visnet.platform.store import Store

DIMENSION = 8
ORDER = [("category", "ascending"), ("product_id", "ascending"), ("image_id", "ascending")]


def shop(products: int, *, copies: float = 0.2, seed: int = 0, prefix: str = "p") -> list[dict[str, Any]]:
    """Images of products, one to four of each, of which a share has the bytes of an image before it.

    Categories, prices (some missing) and stock (some missing) vary; equal bytes have equal vectors.
    """
    dice = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for product in range(products):
        about = {
            "product_id": f"{prefix}{product}",
            "category": f"c{dice.integers(3)}",
            "price": None if dice.random() < 0.1 else float(np.round(np.exp(dice.normal(3, 0.5)), 2)),
            "stock": None if dice.random() < 0.1 else int(dice.integers(0, 3)),
        }
        for image in range(int(dice.integers(1, 5))):
            copied = rows[dice.integers(len(rows))] if rows and dice.random() < copies else None
            content = copied["content"] if copied else f"{prefix}{product}-{image}"
            rows.append({**about, "image_id": f"{prefix}{product}-{image}", "content": content})
    vectors = {content: dice.normal(size=DIMENSION) for content in dict.fromkeys(row["content"] for row in rows)}
    for row in rows:
        vector_D = vectors[row["content"]]
        row["vector"] = (vector_D / np.linalg.norm(vector_D)).astype(np.float16)
    return rows


def write_index(store: Store, rows: list[dict[str, Any]], *, shards: int = 3, index: str = "x") -> IndexManifest:
    """The rows as an index."""
    text = ("image_id", "product_id", "category", "content")
    schema = pa.schema([*((name, pa.string()) for name in text), ("price", pa.float64()), ("stock", pa.int32())])
    shard_rows = []
    for shard in range(shards):
        mine = [row for row in rows if shard_of(row["product_id"], shards) == shard]
        table = pa.Table.from_pylist([{**row, "vector": None} for row in mine], schema=schema)
        table = table.append_column("number", pa.array(np.arange(len(mine)))).sort_by(ORDER)
        hashes = pa.array([content_hash(text.encode()) for text in table["content"].to_pylist()], pa.string())
        table = table.append_column("content_hash", hashes)
        vector_ND = np.array([mine[number]["vector"] for number in table["number"].to_pylist()], np.float16)
        directory = shard_directory(index, shard)
        with store.writer(f"{directory}/vectors.npy") as file:
            np.save(file, vector_ND.reshape(-1, len(rows[0]["vector"])))
        ids = table["product_id"]
        write_keys(store, directory, ranks(ids), short_keys(hashes), product_hashes(ids))
        table = table.drop_columns(["content", "number"])
        with store.writer(f"{directory}/rows.arrow") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        shard_rows.append(len(mine))
    manifest = IndexManifest(
        index=index,
        encoder="e",
        encoder_digest="d" * 64,
        dimension=len(rows[0]["vector"]),
        metric="inner_product",
        catalog="shop",
        catalog_version="1",
        rows=len(rows),
        products=len({row["product_id"] for row in rows}),
        shard_rows=shard_rows,
        settings={},
    )
    write_manifest(store, f"indexes/{index}", manifest)
    return manifest


def slow_neighbours(
    rows: list[dict[str, Any]], product_id: str, settings: RecommendSettings
) -> list[tuple[str, float]]:
    """A product's neighbours and their scores, by looking at every image of the shop."""
    rows = sorted(rows, key=lambda row: (row["category"], row["product_id"], row["image_id"]))
    own = [row for row in rows if row["product_id"] == product_id]
    contents = {row["content"] for row in own}
    refused = {row["product_id"] for row in rows if row["content"] in contents}
    mean_D = np.mean([row["vector"].astype(np.float64) for row in own], axis=0)
    query_D = mean_D / np.linalg.norm(mean_D)
    allowed = [row for row in rows if row["product_id"] not in refused and slow_rules(own[0], row, settings)]
    ranked = sorted(allowed, key=lambda row: -float(row["vector"] @ query_D))
    for key in ("product_id", "content"):
        seen: set[str] = set()
        ranked = [row for row in ranked if not (row[key] in seen or seen.add(row[key]))]
    candidates = [(row, float(row["vector"] @ query_D)) for row in ranked]
    if settings.diversity:
        candidates = slow_diverse(candidates[: settings.candidates or 5 * settings.k], settings.k, settings.diversity)
    return [(row["product_id"], score) for row, score in candidates[: settings.k]]


def slow_rules(own: dict[str, Any], other: dict[str, Any], settings: RecommendSettings) -> bool:
    if settings.same_category and own["category"] != other["category"]:
        return False
    if settings.in_stock and not other[settings.in_stock]:
        return False
    if settings.price_band is None or own["price"] is None:
        return True
    return other["price"] is not None and math.fabs(other["price"] - own["price"]) <= settings.price_band * own["price"]


def slow_diverse(candidates: list[tuple[Any, float]], k: int, diversity: float) -> list[tuple[Any, float]]:
    chosen = candidates[:1]
    left = candidates[1:]
    while left and len(chosen) < k:
        values = [
            (1 - diversity) * score
            - diversity * max(float(row["vector"].astype(np.float64) @ one["vector"]) for one, _ in chosen)
            for row, score in left
        ]
        chosen.append(left.pop(int(np.argmax(values))))
    return chosen
