"""The gates of a release: what must hold before its pieces are served together.

Counts are taken twice: what the manifests say, and what is in the files, read from their ends, so that a shard that
was cut off by a full disk is found here and not by a shopper.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from visnet.platform.detector_manifest import DetectorManifest
from visnet.platform.embeddings import QUARANTINE, EmbeddingsManifest
from visnet.platform.encoder_manifest import EncoderManifest
from visnet.platform.errors import StoreError
from visnet.platform.index import IndexManifest
from visnet.platform.index_gather import ROWS, VECTORS, shard_directory
from visnet.platform.recommendations import RecommendationsManifest, part_counts, part_name
from visnet.platform.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """One check that a release has to pass."""

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """What a release ties together."""

    encoder: EncoderManifest
    embeddings: EmbeddingsManifest
    index: IndexManifest
    recommendations: RecommendationsManifest
    detector: DetectorManifest | None = None


def check_pieces(store: Store, pieces: Pieces) -> list[Gate]:
    """All gates that a release passes or fails whatever is served at present."""
    gates = [_one_encoder(pieces), _one_index(pieces), _counts(pieces), _files(store, pieces), _ann_recall(pieces)]
    return [*gates, *([] if pieces.detector is None else [_detector(store, pieces.detector, pieces.index)])]


def check_not_worse(before: dict[str, Any], after: dict[str, Any], tolerance: float, *, same_encoder: bool) -> Gate:
    """Compare the recalls of a release with those of the current one, where both were measured on the same queries.

    Args:
        before: the current release's evaluation, as `newest_evaluation` gives it; empty if there was none.
        after: the candidate's.
        tolerance: how much worse each recall may be.
    """
    name = "not worse"
    then = _comparable(before, after)
    if then is None:
        if same_encoder:
            return Gate(name=name, passed=True, detail="the same encoder as the current release's")
        return Gate(
            name=name,
            passed=False,
            detail="another encoder than the current release's, and no evaluation of both on the same queries: run "
            f"visnet eval --against {before.get('encoder') or 'the current encoder'}, then visnet release create",
        )
    now = after.get("recall_at_k", {})
    drops = {k: round(then[k] - now[k], 9) for k in then if k in now}
    if not drops:
        return Gate(name=name, passed=False, detail="its evaluation shares no recall with the current release's")
    worst = max(drops, key=lambda k: drops[k])
    return Gate(
        name=name,
        passed=drops[worst] <= tolerance,
        detail=f"recall@{worst} {now[worst]:.3f} against {then[worst]:.3f} "
        f"of the current release (tolerance {tolerance})",
    )


def _comparable(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float] | None:
    """The current encoder's recalls on the candidate's own queries, if they are known."""
    beside: dict[str, dict[str, float]] = after.get("beside", {})
    if before.get("encoder") in beside:
        return beside[before["encoder"]]
    queries = after.get("queries_digest")
    if queries is not None and before.get("queries_digest") == queries:
        recalls: dict[str, float] = before.get("recall_at_k", {})
        return recalls
    return None


def _one_encoder(pieces: Pieces) -> Gate:
    digests = {
        "encoder": pieces.encoder.digest,
        "embeddings": pieces.embeddings.encoder_digest,
        "index": pieces.index.encoder_digest,
        "recommendations": pieces.recommendations.encoder_digest,
    }
    detail = ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
    return Gate(name="one encoder", passed=len(set(digests.values())) == 1, detail=detail)


def _one_index(pieces: Pieces) -> Gate:
    computed_on = pieces.recommendations.index
    detail = f"the recommendations were computed on index {computed_on}"
    return Gate(name="one index", passed=computed_on == pieces.index.index, detail=detail)


def _counts(pieces: Pieces) -> Gate:
    embeddings, index, similar = pieces.embeddings, pieces.index, pieces.recommendations
    return Gate(
        name="counts",
        passed=embeddings.images == embeddings.rows + embeddings.quarantined
        and index.rows == sum(index.shard_rows) == embeddings.rows
        and similar.products == index.products,
        detail=f"{embeddings.images} images = {embeddings.embedded} embedded + {embeddings.reused} reused + "
        f"{embeddings.quarantined} quarantined; {index.rows} rows indexed; "
        f"recommendations for {similar.products} of {index.products} products",
    )


def _files(store: Store, pieces: Pieces) -> Gate:
    """The same counts in the files themselves."""
    name = "files"
    try:
        wanted, found = _counted(store, pieces)
    except StoreError as error:
        return Gate(name=name, passed=False, detail=str(error))
    wrong = [f"{what}: {found[what]} instead of {wanted[what]}" for what in wanted if found[what] != wanted[what]]
    total = f"vectors, quarantine, {pieces.index.shards} shards and recommendations hold what their manifests say"
    return Gate(name=name, passed=not wrong, detail="; ".join(wrong) or total)


def _counted(store: Store, pieces: Pieces) -> tuple[dict[str, int], dict[str, int]]:
    """Rows by what they are: as the manifests say, and as they are found."""
    embeddings, index, similar = pieces.embeddings, pieces.index, pieces.recommendations
    directory = embeddings.directory
    wanted = {"vectors": embeddings.rows, "quarantine": embeddings.quarantined, "recommendations": similar.products}
    found = {
        "vectors": sum(_parquet_rows(store, f"{directory}/{part}") for part in embeddings.parts),
        "quarantine": _parquet_rows(store, f"{directory}/{QUARANTINE}"),
        "recommendations": sum(
            part_counts(store, part_name(similar.recommendations, shard, part))[0]
            for shard, parts in enumerate(similar.parts)
            for part in range(parts)
        ),
    }
    for shard, rows in enumerate(index.shard_rows):
        wanted |= {f"rows of shard {shard}": rows, f"vectors of shard {shard}": rows}
        found |= _shard_rows(store, index, shard)
    return wanted, found


def _parquet_rows(store: Store, name: str) -> int:
    try:
        rows: int = pq.read_metadata(store.path(name), filesystem=store.filesystem).num_rows
        return rows
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"can't read {name}: {error}") from None


def _shard_rows(store: Store, index: IndexManifest, shard: int) -> dict[str, int]:
    directory = shard_directory(index.index, shard)
    try:
        with pa.ipc.open_file(pa.memory_map(str(store.local_path(f"{directory}/{ROWS}")))) as reader:
            rows = sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
        vectors = np.load(store.local_path(f"{directory}/{VECTORS}"), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"can't read {directory}: {error}") from None
    return {f"rows of shard {shard}": rows, f"vectors of shard {shard}": len(vectors)}


def _ann_recall(pieces: Pieces) -> Gate:
    index, name = pieces.index, "ann_recall_at_k"
    if index.kind == "exact":
        return Gate(name=name, passed=True, detail="exact search")
    if index.ann_recall_at_k is None or index.min_ann_recall is None:
        return Gate(name=name, passed=False, detail=f"the recall of this {index.kind} index was not measured")
    return Gate(
        name=name,
        passed=index.ann_recall_at_k >= index.min_ann_recall,
        detail=f"{index.kind} finds {index.ann_recall_at_k:.4f} of the {index.recall_k} exactly nearest "
        f"({index.recall_queries} queries; at least {index.min_ann_recall} was asked for)",
    )


def _detector(store: Store, detector: DetectorManifest, index: IndexManifest) -> Gate:
    """It is whole, and it was made for this catalogue."""
    name = "detector"
    if detector.catalog != index.catalog:
        detail = f"{detector.detector} was trained for catalogue {detector.catalog}, the index is of {index.catalog}"
        return Gate(name=name, passed=False, detail=detail)
    from visnet.platform.detector import load_detector  # with torch, which who only reads gates does without

    try:
        load_detector(store, detector.detector)
    except StoreError as error:
        return Gate(name=name, passed=False, detail=str(error))
    classes = "one class" if len(detector.classes) == 1 else f"{len(detector.classes)} categories"
    return Gate(name=name, passed=True, detail=f"{detector.detector}, {classes}")
