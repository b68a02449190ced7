"""From settings to what Ray Train and the loop are given, and the command's options."""

import dataclasses
from collections.abc import Callable

import pyarrow as pa
import pytest
from click.testing import CliRunner

from visnet.platform.catalog import write_catalog
from visnet.platform.errors import SettingsError, VisnetError
from visnet.platform.networks import make_recipe
from visnet.platform.settings import TrainSettings
from visnet.platform.settings_file import revised
from visnet.platform.store import Store
from visnet.train.cli import train
from visnet.train.losses import InfoNCE, TripletHinge
from visnet.train.run import backend, refuse_hang, scaling
from visnet.train.worker import make_loss

CPU = TrainSettings(workers=4, gpus_per_worker=0.0, cpus_per_worker=2.0)


def with_(**changes: object) -> TrainSettings:
    return dataclasses.replace(CPU, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "cpus", "workers"),
    [
        ({}, 100, 4),
        ({"min_workers": 4}, 100, 4),
        ({"min_workers": 2}, 100, (2, 4)),
        ({"min_workers": 1}, 7, (1, 3)),  # without GPUs one CPU is left to decode
        ({"min_workers": 2}, 5, 2),
        ({"min_workers": 1, "gpus_per_worker": 1.0}, 3, (1, 4)),
    ],
)
def test_how_many_workers(changes: dict[str, object], cpus: int, workers: int | tuple[int, int]) -> None:
    made = scaling(with_(**changes), cpus=cpus)
    assert made.num_workers == workers
    assert made.resources_per_worker["CPU"] == 2.0
    assert made.use_gpu == (changes.get("gpus_per_worker", 0) == 1.0)


def test_workers_that_would_leave_no_cpu_are_refused() -> None:
    refuse_hang(CPU, cpus=9)
    with pytest.raises(VisnetError, match=r"need 9 logical CPUs, the cluster has 8: lower train\.workers"):
        refuse_hang(CPU, cpus=8)
    refuse_hang(with_(min_workers=1), cpus=3)  # elastic: starts with what fits
    refuse_hang(with_(gpus_per_worker=1.0), cpus=1)  # GPUs bound it


@pytest.mark.parametrize(
    ("changes", "name"),
    [({}, "gloo"), ({"gpus_per_worker": 1.0}, "nccl"), ({"gpus_per_worker": 1.0, "backend": "gloo"}, "gloo")],
)
def test_what_carries_tensors(changes: dict[str, object], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.train.run.gpus_are_pretended", lambda: False)
    assert backend(with_(**changes)) == name


def test_pretended_gpus_carry_no_nccl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visnet.train.run.gpus_are_pretended", lambda: True)
    assert backend(with_(gpus_per_worker=1.0)) == "gloo"


@pytest.mark.parametrize(
    ("recipe", "options", "margin"),
    [
        ("visnet-tiny", {}, 0.2),
        ("visnet-vgg16", {}, 0.0009),  # the paper's, with its soft normalisation
        ("visnet-vgg16", {"normalisation": "l2"}, 0.2),
    ],
)
def test_the_margin_is_the_recipes_own_unless_set(recipe: str, options: dict[str, str], margin: float) -> None:
    made = make_recipe(recipe, **options)
    assert make_loss(CPU, made, triplets=False) == TripletHinge(margin=margin)
    assert make_loss(with_(margin=0.7), made, triplets=False) == TripletHinge(margin=0.7)


def test_triplets_bring_their_own_negatives_unless_told_otherwise() -> None:
    recipe = make_recipe("visnet-tiny")
    assert make_loss(CPU, recipe, triplets=True) == TripletHinge(negatives="own")
    assert make_loss(with_(negatives="batch"), recipe, triplets=True) == TripletHinge(negatives="batch")
    chosen = with_(loss="info-nce", temperature=0.05, negatives="hardest")
    assert make_loss(chosen, recipe, triplets=False) == InfoNCE(temperature=0.05, negatives="hardest")


def test_settings_are_checked_when_changed() -> None:
    changed = revised(CPU, {"margin": 1, "recipe_options": {"image_size": 64}}, source="options", section="train")
    assert (changed.margin, changed.workers) == (1.0, 4)
    with pytest.raises(SettingsError, match=r"train\.steps: .* got -5; .*train\.speed: there is no such setting"):
        revised(CPU, {"steps": -5, "speed": 9}, source="options", section="train")


@pytest.fixture
def store_with_photos(store: Store, picture: Callable[..., bytes]) -> Store:
    rows = pa.table({"image_id": ["p"], "product_id": ["p"], "category": ["a"], "image": [picture()]})
    photos = rows.append_column("split", pa.array(["train"]))
    write_catalog(store, name="shop", version="1", source="test", batches=[rows], photos=[photos])
    return store


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--split"),
        (["--split", "val"], "it has: train"),
        (["--split", "train", "--examples", "photos", "--triplets", "t"], "no other --examples"),
        (["--split", "train", "--triplets", "t"], "leave out --split and --where"),
        (["--split", "train", "--where", "brand=x", "--examples", "views"], "no column 'brand'"),
        (["--set", "margin"], "NAME=VALUE"),
        (["--set", "margin=[1"], "no YAML value"),
        (["--examples", "videos"], "videos"),
        (["--examples", "views", "--set", "speed=9"], "train.speed: there is no such setting"),
        (["--examples", "views", "--steps", "0"], "train.steps"),
        (["--examples", "views", "--recipe", "resnet"], "unknown recipe 'resnet'"),
        (["--examples", "views", "--recipe-option", "depth=3"], "has no setting depth"),
    ],
)
def test_wrong_options_are_explained_before_a_cluster_is_started(
    store_with_photos: Store, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(train, ["--catalog", "shop", "--store", store_with_photos.location, *options])
    assert result.exit_code in (1, 2)
    assert message in result.output


def test_a_catalogue_that_is_not_there_says_what_is(store_with_photos: Store) -> None:
    result = CliRunner().invoke(train, ["--catalog", "shoes", "--store", store_with_photos.location])
    assert result.exit_code == 1
    assert "there is: shop" in result.output
