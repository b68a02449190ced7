"""`visnet catalog import`: says what came in, what was left out and where the list of it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from visnet.platform import importers
from visnet.platform.catalog_cli import catalog

Put = Callable[[str, str | bytes], Path]
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(catalog, [*map(str, arguments), "--store", str(tmp_path / "store")])

    return invoke


@pytest.fixture
def file(put: Put, picture: Callable[..., bytes]) -> Path:
    """Four pairs of two products; one pair has no category, one photo is missing."""
    for seed, name in enumerate(("1.png", "2.png", "a.png", "b.png")):
        put(name, picture(seed))
    rows = ["1.png,a,c,a.png,train", "2.png,b,c,b.png,test", "3.png,b,c,b.png,test", "2.png,b,,b.png,test"]
    return put("pairs.csv", "photo,product_id,category,shop_image,split\n" + "\n".join(rows))


def test_what_came_and_what_was_left_out(run: Run, file: Path) -> None:
    ran = run("import", "pairs", file, "--name", "shop")
    first, photos, missing, category, where = ran.stdout.splitlines()
    assert first.endswith(": 2 images of 2 products in 1 categories")
    assert photos == "3 photos: test 2, train 1"
    assert (missing, category) == ("1 x image missing, kept by its path", "1 x no category")
    listed = pq.read_table(where.removeprefix("these are listed in ")).to_pylist()
    assert listed == [
        {"item": "line 5", "reason": "no category"},
        {"item": "3.png", "reason": "image missing, kept by its path"},
    ]
    assert run("list").stdout.split("  ")[2:] == ["2 images, 3 photos", "from pairs pairs.csv\n"]


def test_the_same_as_json_new_and_again(run: Run, file: Path) -> None:
    def result() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("import", "pairs", file, "--name", "shop", "--json").stdout)
        return found

    first, again = result(), result()
    assert (first["images"], first["photos"], first["photo_splits"]) == (2, 3, {"test": 2, "train": 1})
    assert first["skipped"] == {"image missing, kept by its path": 1, "no category": 1}
    assert Path(first["skipped_list"]).is_file()
    assert (first["reused"], again["reused"]) == (False, True)
    changing = {"reused", "seconds", "images_per_s"}
    assert {key: first[key] for key in first.keys() - changing} == {key: again[key] for key in again.keys() - changing}


def test_a_catalogue_of_pictures_alone_says_no_more(run: Run, file: Path) -> None:
    ran = run("import", "folder", file.parent, "--name", "folder", "--json")
    found = json.loads(ran.stdout)
    assert (found["photos"], found["skipped"], found["skipped_list"]) == (0, {}, None)
    assert len(run("import", "folder", file.parent, "--name", "folder").stdout.splitlines()) == 1
    assert "  4 images  from folder data" in run("list").stdout


def test_products_are_held_out(run: Run, file: Path) -> None:
    arguments = ("import", "pairs", file, "--name", "shop", "--json", "--hold-out")
    whole = json.loads(run(*arguments, 0).stdout)
    some = json.loads(run(*arguments, 0.5, "--seed", 1).stdout)
    assert "held-out" not in whole["photo_splits"]
    assert some["photo_splits"]["held-out"] in (1, 2)
    assert some["version"] != whole["version"]


@pytest.mark.parametrize("format", sorted(set(importers.FORMATS) - set(importers.HOLD_OUT_FORMATS)))
def test_formats_without_photos_to_train_on_hold_nothing_out(run: Run, file: Path, format: str) -> None:
    for option in ("--hold-out=0.2", "--seed=1"):
        ran = run("import", format, file.parent, "--name", "x", option)
        assert ran.exit_code == 2
        assert "--hold-out and --seed are for pairs, grocery-store, " in ran.stderr


def test_options_that_make_no_sense_are_refused(run: Run, file: Path) -> None:
    assert "name a share with --hold-out" in run("import", "pairs", file, "--name", "x", "--seed", 1).stderr
    assert run("import", "pairs", file, "--name", "x", "--hold-out", 1.5).exit_code == 2


def test_every_format_is_explained_and_opens_with_an_error_of_its_own(run: Run, tmp_path: Path) -> None:
    text = run("import", "--help").stdout.split("FORMAT is one of")[1]
    for format in importers.FORMATS:
        assert format in text
        ran = run("import", format, tmp_path / "nothing", "--name", "x")
        assert ran.exit_code == 1
        assert ran.stderr.startswith("Error: ")
