"""The cluster of cluster.yaml on one machine: nodes come and go with the work, and work survives the death of a node.

Train, embed and serve share one cluster with fewer nodes than all of them want. Every function is the next act on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.elastic import Elastic, Job, Shoppers, cut_file, wait_for
from tests.picture_server import PictureServer, serve_pictures
from tests.served_shop import CATEGORIES, make_release, picture, shop_catalog
from visnet.platform.catalog import write_catalog
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.networks import make_recipe
from visnet.platform.store import Store

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

NAME = "elastic-test"
IDLE_S = "20"
PICTURES = 400
ASKED_AGAIN = 4
"""Searches that may be under way in an ingress that dies, or meet HAProxy while it starts anew."""


@pytest.fixture(scope="module")
def pictures() -> Iterator[PictureServer]:
    """A server of the second catalogue's pictures: how long it takes is how long the pass over them does."""
    with serve_pictures({f"m{number}": picture(1_000_000 + number) for number in range(PICTURES)}) as server:
        server.hold_s = 3.0
        yield server


@pytest.fixture(scope="module")
def store(pictures: PictureServer, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A shop with a release, and a second catalogue that nothing has embedded yet."""
    made = Store(str(tmp_path_factory.mktemp("store")))
    make_release(made, shop_catalog(made, 60), seed=1, shards=2, current=True)
    ids = [f"m{number}" for number in range(PICTURES)]
    kinds = [CATEGORIES[number % 3] for number in range(PICTURES)]
    uris = [f"{pictures.url}/plain/{name}" for name in ids]
    table = pa.table({"image_id": ids, "product_id": ids, "category": kinds, "uri": uris})
    write_catalog(made, name="more", version="v1", source="a test", batches=[table])
    return made


@pytest.fixture(scope="module")
def encoder(store: Store) -> str:
    """Another one than the release's, so that nothing is embedded yet."""
    torch.manual_seed(3)
    return save_encoder(store, Encoder(make_recipe("visnet-tiny"))).encoder


@pytest.fixture(scope="module")
def elastic(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elastic]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("RAY_ADDRESS", raising=False)
        for whose in ("HANDLE", "REPLICA"):  # the load is told every half second, not every ten
            patch.setenv(f"RAY_SERVE_{whose}_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "0.5")
        made = Elastic(cut_file(tmp_path_factory.mktemp("file") / "cut.yaml", store.location, NAME), NAME)
        made.run("cluster", "up", "--local", "--idle-timeout-s", IDLE_S)
        try:
            yield made
        finally:
            made.run("cluster", "down")


def kinds(elastic: Elastic) -> list[str]:
    return sorted(node["type"] for node in elastic.run("cluster", "status")["nodes"])


def checkpoints(store: Store) -> int:
    return len(list(Path(store.path("training")).glob("*/checkpoint_*")))


def test_from_a_head_alone_the_service_brings_its_nodes_and_keeps_copies_apart(elastic: Elastic) -> None:
    assert kinds(elastic) == ["head"]
    elastic.submit("serve").result()
    for part in ("ServeReplica:shard-0", "ServeReplica:shard-1", "ServeReplica:visnet:ingress"):
        wait_for(lambda part=part: len(elastic.holding(part)) == 2, f"{part} has not its two copies on two nodes")
    assert elastic.nodes("gpu") == []
    assert {node.split("-")[0] for node in elastic.holding("ServeReplica")} == {"serve"}


def test_the_embedder_scales_out_onto_a_new_node_under_load_and_back(elastic: Elastic) -> None:
    wait_for(lambda: len(elastic.nodes("serve")) == 2, "more nodes than the service needs stayed")
    assert len(elastic.holding("ServeReplica:embedder")) == 1
    with Shoppers(elastic.url, products=0, photos=16) as shoppers:  # two replicas fit on the nodes there are
        wait_for(lambda: len(elastic.holding("ServeReplica:embedder")) == 3, "the load brought no node")
    assert shoppers.failures == []
    assert shoppers.asked_again == []
    wait_for(lambda: len(elastic.holding("ServeReplica:embedder")) == 1, "the replicas stayed without load")


def test_all_at_once_jobs_wait_for_each_other_and_survive_their_nodes(
    elastic: Elastic, store: Store, pictures: PictureServer, encoder: str
) -> None:
    with Shoppers(elastic.url, products=1, photos=1, pause_s=0.3) as shoppers:
        embed = elastic.submit("embed", "--catalog", "more", "--encoder", encoder)
        wait_for(lambda: len(elastic.holding("EncodeUnits")) == 3, "the pass did not grow onto three nodes")
        assert len(elastic.nodes("gpu")) == 3
        train = elastic.submit("train", "--catalog", "shop")
        wait_for(lambda: "waits: it waits for 2 x 1 GPU and 1 CPU" in train.log, "the training does not say it waits")
        assert "embed" in said(train, "waits:")
        wait_for(lambda: "embedding goes on with 1 actors" in embed.log, "the pass gave nothing back")
        wait_for(lambda: checkpoints(store) >= 2, "the training made no checkpoint")
        elastic.kill(elastic.holding("RayTrainWorker")[0])
        elastic.kill(elastic.holding("EncodeUnits")[0])
        trained = train.result()
        pictures.hold_s = 0.0
        embedded = embed.result()
    assert trained["steps"] == 60
    (first, workers), *_, (last, again) = trained["worlds"]  # the step at which so many workers began
    assert (first, workers, again) == (0, 2, 2)
    assert 0 < last < 60
    assert (embedded["images"], embedded["embedded"], embedded["quarantined"]) == (PICTURES, PICTURES, 0)
    parts = sorted(Path(store.path("embeddings")).glob(f"{encoder}/more-v1*/part-*.parquet"))
    ids = pa.concat_tables([pq.read_table(part, columns=["image_id"]) for part in parts])["image_id"].to_pylist()
    assert sorted(ids) == sorted(f"m{number}" for number in range(PICTURES))
    assert shoppers.failures == []
    assert shoppers.asked_again == []
    assert shoppers.statuses["found"] > 20


def said(job: Job, what: str) -> str:
    return next(line for line in job.lines if what in line)


def test_a_node_that_dies_with_ingress_controller_and_embedder_fails_no_search(elastic: Elastic) -> None:
    (doomed,) = elastic.holding("ServeReplica:visnet:controller")
    lost = [title for title in elastic.titles(doomed) if "ServeReplica" in title]
    with Shoppers(elastic.url, products=2, photos=0) as shoppers:
        wait_for(lambda: shoppers.statuses["found"] > 20, "nothing was found before")
        elastic.kill(doomed)
        wait_for(lambda: elastic.holding("ServeReplica:visnet:controller"), "the controller did not come back")
        for part in ("ServeReplica:shard-0", "ServeReplica:shard-1", "ServeReplica:visnet:ingress"):
            wait_for(lambda part=part: len(elastic.holding(part)) == 2, f"{part} has not its two copies again")
    assert lost
    assert shoppers.failures == []
    assert len(shoppers.asked_again) <= ASKED_AGAIN, shoppers.asked_again


def test_nodes_that_nothing_runs_on_go(elastic: Elastic) -> None:
    wait_for(lambda: elastic.nodes("gpu") == [], "the jobs' nodes stayed")
    wait_for(lambda: len(elastic.nodes("serve")) == 2, "the load's node stayed")


def test_down_leaves_no_process(elastic: Elastic) -> None:
    nodes = elastic.up.nodes
    assert nodes.every_process()
    assert elastic.run("cluster", "down") == {"name": NAME, "ended": True}
    assert nodes.every_process() == []
