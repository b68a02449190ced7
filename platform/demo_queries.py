"""The demo's questions to the running service, and what is made of its answers."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from visnet.platform import demo_scenes
from visnet.platform.catalog import open_catalog
from visnet.platform.contact_sheet import Row, contact_sheet
from visnet.platform.errors import VisnetError
from visnet.platform.metrics import recall_at_k
from visnet.platform.queries import wild_queries
from visnet.platform.store import Store

PHOTOS = 200
CLIENTS = 8
K = 20
SHEET_ROWS = 10
SHEET_RESULTS = 8
SIDE = 32
SEED = 1703
PIXELS_FACTOR = 2.0
"""How much better than raw pixels the trained encoder must be, in recall@20."""


def ask(store: Store, url: str, catalog_name: str, *, sheet: Path) -> dict[str, Any]:
    """Send photos of products that training never saw to the service, and a few other questions.

    Args:
        sheet: where the contact sheet of the first answers is written.

    Raises:
        VisnetError: the service answers other than it should.
    """
    started = time.monotonic()
    gallery = open_catalog(store, catalog_name).read(["product_id", "category", "image"], where=("split", "test"))
    chosen = np.random.default_rng(SEED).choice(len(gallery), PHOTOS, replace=False)
    rows = gallery.take(chosen).to_pylist()
    photos = wild_queries([row["image"] for row in rows], seed=SEED, side=SIDE)
    with httpx.Client(base_url=url, timeout=30) as client:
        _search(client, photos[0])  # warm-up
        sent = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(lambda photo: _search(client, photo), photos))
        seconds = time.monotonic() - sent
        alone_ms = _alone(client, photos[:20])
        found = np.array([[hit["product_id"] for hit in answer["results"]] for answer in answers], dtype=object)
        wanted = [row["product_id"] for row in rows]
        pictures = _sheet(client, rows, photos, answers)
        sheet.parent.mkdir(parents=True, exist_ok=True)
        sheet.write_bytes(pictures)
        checks = _other_questions(client, rows[0])
    return {
        "photos": PHOTOS,
        "queries_kind": "synthetic wild views of products not trained on, against the whole catalogue",
        "gallery": sum(open_catalog(store, catalog_name).manifest.categories.values()),
        "recall_at_20": round(recall_at_k(found, wanted, K), 4),
        "photos_per_s": round(PHOTOS / seconds, 1),
        "clients": CLIENTS,
        "p50_ms": round(float(np.percentile(alone_ms, 50)), 1),
        "partial": sum(answer["partial"] for answer in answers),
        "checks": checks,
        "contact_sheet": str(sheet),
        "stage_seconds": round(time.monotonic() - started, 1),
    }


def problems(results: dict[str, Any]) -> list[str]:
    """What of a demo's results is not as it should be; empty if all is well."""
    figures, baselines = results["evaluate"]["figures"], results["evaluate"]["baselines"]
    reached, pixels = figures["recall_at_k"]["20"], baselines["pixels"]["recall_at_k"]["20"]
    found = []
    if reached < PIXELS_FACTOR * pixels or reached <= baselines["untrained"]["recall_at_k"]["20"]:
        found.append(
            f"the trained encoder's recall@20 ({reached}) is not clearly above its baselines ({pixels} pixels)"
        )
    if results["ask"]["partial"]:
        found.append(f"{results['ask']['partial']} answers were partial")
    found += [f"the check '{name}' failed" for name, passed in results["ask"]["checks"].items() if not passed]
    return found


def summary(stage: str, result: dict[str, Any]) -> str:
    """One stage's result in a few words."""
    match stage:
        case "catalog":
            return f"{result['products']:,} products in {len(result['categories'])} categories"
        case "train":
            return f"{result['encoder']}, {result['steps']} steps, {result['worlds'][-1][1]} workers"
        case "evaluate":
            return f"recall@20 {result['figures']['recall_at_k']['20']:.3f} (pixels: {_pixels(result):.3f})"
        case "detector":
            return f"{result['detector']}, AP50 {result['held_out']['ap50']:.3f} on held-out products' scenes"
        case "localise":
            return demo_scenes.localised(result)
        case "embed":
            return f"{result['embedded']:,} embedded, {result['quarantined']} in quarantine"
        case "index":
            return f"{len(result['shard_rows'])} shards, {result['size_bytes'] / 2**20:.1f} MiB"
        case "recommend":
            return f"{result['products']:,} products, {result['k']} neighbours each"
        case "release":
            return f"{result['release']}, {len(result['gates'])} gates passed, promoted"
        case "serve":
            return f"{result['url']}, {result['shards']} shards"
        case "ask":
            return (
                f"recall@20 {result['recall_at_20']:.3f} over all {result['gallery']:,}; {result['clients']} clients; "
                f"p50 {result['p50_ms']:.0f} ms alone"
            )
    return ""


def _pixels(result: dict[str, Any]) -> float:
    recall: float = result["baselines"]["pixels"]["recall_at_k"]["20"]
    return recall


def _search(client: httpx.Client, photo: bytes, k: int = K) -> dict[str, Any]:
    response = client.post("/v1/search", files={"image": ("photo.png", photo)}, data={"k": k})
    if not response.is_success:
        raise VisnetError(f"the service answered {response.status_code}: {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def _alone(client: httpx.Client, photos: list[bytes]) -> list[float]:
    """Milliseconds of single requests, one after the other."""
    times = []
    for photo in photos:
        started = time.perf_counter()
        _search(client, photo)
        times.append(1000 * (time.perf_counter() - started))
    return times


def _sheet(
    client: httpx.Client, rows: list[dict[str, Any]], photos: list[bytes], answers: list[dict[str, Any]]
) -> bytes:
    shown = []
    for row, photo, answer in list(zip(rows, photos, answers, strict=True))[:SHEET_ROWS]:
        results = [
            (
                client.get(hit["image_url"]).content,
                f"{hit['category']} {hit['score']:.2f}",
                hit["product_id"] == row["product_id"],
            )
            for hit in answer["results"][:SHEET_RESULTS]
        ]
        ranks = [rank for rank, hit in enumerate(answer["results"], 1) if hit["product_id"] == row["product_id"]]
        rank = ranks[0] if ranks else None
        shown.append(Row(query=photo, expected=row["image"], results=results, rank=rank))
    return contact_sheet(shown, title="Synthetic photos and what the running service found among 70,000 products")


def _other_questions(client: httpx.Client, row: dict[str, Any]) -> dict[str, bool]:
    """The other kinds of question, each with whether the answer was right."""
    product_id, category = row["product_id"], row["category"]
    body = {"product_id": product_id, "k": 5, "filter": {"category": category}}
    narrowed = client.post("/v1/search", json=body).json()["results"]
    similar = client.get(f"/v1/recommend/{product_id}", params={"k": 5}).json()["results"]
    picture = client.get(f"/v1/products/{product_id}/image")
    broken = client.post("/v1/search", files={"image": ("photo.png", b"not an image")})
    return {
        "a category filter keeps to its category": len(narrowed) == 5
        and all(hit["category"] == category for hit in narrowed),
        "a product is not recommended to itself": len(similar) == 5
        and all(hit["product_id"] != product_id for hit in similar),
        "the product's own picture finds the product": _search(client, picture.content, k=1)["results"][0]["product_id"]
        == product_id,
        "a broken upload is refused with its reason": broken.status_code == 422
        and "not an image" in broken.json()["detail"],
    }
