"""`visnet eval`: found by the root command, its output for people and for machines, its errors."""

import importlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from visnet.platform import settings
from visnet.platform.catalog import write_catalog
from visnet.platform.store import Store
from visnet.train.evaluation.cli import evaluate

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(store: Store, picture: Callable[..., bytes]) -> Invoke:
    ids = [f"p{number}" for number in range(8)]
    images = [picture(number) for number in range(8)]
    shop = pa.table({"image_id": ids, "product_id": ids, "category": ["a", "b"] * 4, "image": images})
    photos = shop.append_column("split", pa.array(["val"] * 8)).slice(0, 6)
    photos = photos.set_column(3, "image", pa.array([b"broken", *images[1:6]]))
    write_catalog(store, name="shop", version="v", source="a test", batches=[shop], photos=[photos])

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(evaluate, ["--catalog", "shop", "--store", store.location, *arguments])

    return call


def test_it_is_a_command_of_visnet() -> None:
    project = tomllib.loads((Path(settings.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["visnet.commands"]["eval"].split(":")
    assert getattr(importlib.import_module(module), name) is evaluate


def test_the_table(invoke: Invoke) -> None:
    result = invoke("--split", "val", "--encoder", "pixels", "--against", "histogram")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "5 photos of the split val, whole; gallery of 8 pictures"
    assert lines[1] == "unusable: 1 query pictures"
    assert lines[4].split()[:3] == ["pixels", "1.000", "1.000"]
    assert lines[5].split()[0] == "histogram"
    assert lines[6].startswith("recall@1 against histogram: +0.")
    assert Path(lines[-2].removeprefix("report: ")).is_file()
    assert Path(lines[-1].removeprefix("contact sheet: ")).is_file()
    assert len({len(line) for line in lines[4:6]}) == 1


def test_json(invoke: Invoke) -> None:
    result = invoke("--split", "val", "--encoder", "pixels", "--queries", "4", "--json")
    figures = json.loads(result.stdout.splitlines()[-1])
    assert (figures["kind"], figures["split"], figures["counts"]["queries_chosen"]) == ("photos", "val", 4)
    assert set(figures["figures"]["recall_at_k"]) == {"1", "5", "10", "20"}
    assert figures["figures"]["within_category"]["unanswerable"] == 0
    assert Path(figures["report"]).is_file()
    assert Path(figures["contact_sheet"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--encoder", "pixels"], "say which with --split"),
        (["--split", "val"], "has no encoder yet"),
        (["--split", "val", "--encoder", "untrained"], "untrained is an encoder's own network"),
        (["--split", "test", "--encoder", "pixels"], "no photos of the split 'test'"),
        (["--queries-kind", "images", "--encoder", "pixels"], "no usable queries of the kind 'images' (0 found"),
    ],
)
def test_errors_say_what_to_do(invoke: Invoke, arguments: list[str], expected: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert expected in result.output
