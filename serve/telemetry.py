"""What the service measures: every family of metrics, with its name, its labels and what it means.

Whoever has something to say calls a family here, as `telemetry.REQUESTS.add("/v1/search", "POST", "200")`: plain
arithmetic, with or without Ray. `publishing` sends the numbers to Ray's metrics, where Prometheus finds them.
(The ingress names them through this module: Serve copies what its class names, and a copy counts for nobody.)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from visnet.serve.metering import Counter, Family, Gauge, Histogram

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FRESH_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)

REQUESTS = Counter("visnet_requests_total", "Requests answered.", "route", "method", "status")
REQUEST_SECONDS = Histogram(
    "visnet_request_seconds",
    "From a request's first byte to its answer's last, in the ingress.",
    "route",
    bounds=SECONDS,
)
STAGE_SECONDS = Histogram(
    "visnet_stage_seconds",
    "What requests and batches spend their time on. Of a request: read, embed, search, look_up,"
    " sample, describe (the catalogue). Of a batch of searches:"
    " fan_out, merge, and in the shard shard_queue, shard_search. In the embedder: queue of a photo, and decode,"
    " detect, crop and network (the encoder's) of a batch. Of a transaction: journal.",
    "stage",
    bounds=SECONDS,
)
BATCH_SIZE = Histogram(
    "visnet_batch_size",
    "What is done as one: photos embedded, searches sent to the shards, writes of a transaction.",
    "what",
    bounds=SIZES,
)
SHED = Counter("visnet_shed_total", "Requests refused that might be answered another time.", "reason")
PHOTO_CACHE = Counter("visnet_photo_cache_total", "Photos, by whether their vector was known already.", "hit")
PHOTOS_LOCATED = Counter(
    "visnet_photos_located_total",
    "Photos searched for, by what of them: box, detection, whole; nothing, unsure or small where no item was found.",
    "how",
)
ITEMS_FOUND = Counter("visnet_items_found_total", "Items found in photos and searched for.")
PARTIAL_ANSWERS = Counter("visnet_partial_answers_total", "Answers without a shard that is down.")
RELEASE_INFO = Gauge("visnet_release_info", "1: an ingress answers by this release.", "release", "encoder")
SHARD_UP = Gauge("visnet_shard_up", "Whether an ingress reaches a shard.", "shard")
SHARD_IMAGES = Gauge("visnet_shard_images", "Living images of a shard's replica.", "shard")
SHARD_CHANGED = Gauge("visnet_shard_changed_images", "Those that the built index does not hold.", "shard")
FRESHNESS = Histogram(
    "visnet_freshness_seconds", "From a write's acceptance to a replica that answers by it.", "shard", bounds=FRESH_S
)
JOURNAL_DEPTH = Gauge("visnet_journal_depth", "Entries of the journal that the index does not hold.", "shard")
JOURNAL_APPLIED = Gauge("visnet_journal_applied", "The last entry that a replica has applied.", "shard")
JOURNAL_LAG = Gauge("visnet_journal_lag", "Entries that a replica has not applied yet.", "shard")
JOURNAL_FAILURES = Counter("visnet_journal_failures_total", "Times a replica could not follow the journal.", "shard")
RECALL = Gauge(
    "visnet_ann_recall_at_k", "Of the last live searches: share of what an exact pass finds that was answered.", "shard"
)
RECALL_PROBES = Counter("visnet_recall_probes_total", "Live searches that were compared with an exact pass.", "shard")
SWITCHES = Counter("visnet_switches_total", "Switches of releases, by how they ended.", "outcome")
CONTROLLER_PROBLEM = Gauge("visnet_controller_problem", "1: something keeps the controller from its work.")

FAMILIES: tuple[Family, ...] = (
    REQUESTS, REQUEST_SECONDS, STAGE_SECONDS, BATCH_SIZE, SHED, PHOTO_CACHE, PHOTOS_LOCATED, ITEMS_FOUND,
    PARTIAL_ANSWERS, RELEASE_INFO, SHARD_UP, SHARD_IMAGES, SHARD_CHANGED, FRESHNESS, JOURNAL_DEPTH, JOURNAL_APPLIED,
    JOURNAL_LAG, JOURNAL_FAILURES, RECALL, RECALL_PROBES, SWITCHES, CONTROLLER_PROBLEM,
)  # fmt: skip


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure a stage; one that fails counts too."""
    started = time.perf_counter()
    try:
        yield
    finally:
        STAGE_SECONDS.observe(time.perf_counter() - started, name)
