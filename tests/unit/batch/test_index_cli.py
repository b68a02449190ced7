"""`visnet index`: what the options become, and what the list says of each index. The build itself is replaced."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.embedded_shop import embedded_shop
from visnet.batch import index as index_module
from visnet.batch.index_cli import index
from visnet.platform.command import Invocation
from visnet.platform.index import IndexManifest
from visnet.platform.index_build import InProcess, build
from visnet.platform.settings import IndexSettings
from visnet.platform.store import Store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[IndexSettings]:
    """The settings that each build was asked for; no cluster starts, and an exact index of two shards is built."""
    asked: list[IndexSettings] = []

    @contextmanager
    def no_cluster(_invocation: Invocation, _address: str | None) -> Iterator[None]:
        yield

    def in_process(
        store: Store, catalog: Any, encoder: str, settings: IndexSettings
    ) -> tuple[IndexManifest, dict[str, float]]:
        asked.append(settings)
        return build(embedded_shop(store).sources, IndexSettings(), InProcess()), {"seconds": 1.0, "rows_per_s": 30.0}

    monkeypatch.setattr(Invocation, "cluster", no_cluster)
    monkeypatch.setattr(index_module, "build_index", in_process)
    return asked


def run(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    (tmp_path / "cluster.yaml").write_text("metadata: {visnet: {index: {shards: 3, refine: 6}}}")
    options = ["--store", str(tmp_path / "store"), "--cluster-file", str(tmp_path / "cluster.yaml")]
    ran = CliRunner().invoke(index, [*arguments, *options])
    return ran.exit_code, ran.output


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ([], {}),
        (["--shards", "5"], {"shards": 5}),
        (["--kind", "ivf-pq", "--nlist", "9", "--pq-bytes", "4"], {"kind": "ivf-pq", "nlist": 9, "pq_bytes": 4}),
        (["--nprobe", "2", "--refine", "8"], {"nprobe": 2, "refine": 8}),
        (["--min-ann-recall", "0.97"], {"min_ann_recall": 0.97}),
    ],
)
def test_options_go_before_the_file(
    tmp_path: Path, asked: list[IndexSettings], options: list[str], changes: dict[str, Any]
) -> None:
    embedded_shop(Store(str(tmp_path / "store")))
    code, output = run(tmp_path, "build", "--catalog", "shop", "--encoder", "e", *options, "--json")
    assert code == 0, output
    assert asked == [dataclasses.replace(IndexSettings(shards=3, refine=6), **changes)]
    result = json.loads(output.splitlines()[-1])
    assert (result["kind"], result["rows"], result["products"], result["ann_recall_at_k"]) == ("exact", 30, 15, None)


@pytest.mark.parametrize(
    "options",
    [["--kind", "hnsw"], ["--shards", "0"], ["--refine", "0"], ["--min-ann-recall", "1.1"], ["--nlist", "-1"]],
)
def test_what_can_not_be_is_wrong_usage(tmp_path: Path, asked: list[IndexSettings], options: list[str]) -> None:
    embedded_shop(Store(str(tmp_path / "store")))
    code, output = run(tmp_path, "build", "--catalog", "shop", "--encoder", "e", *options)
    assert code == 2
    assert options[0] in output
    assert asked == []


def test_the_list_shows_kind_and_recall(tmp_path: Path) -> None:
    assert run(tmp_path, "list") == (0, "no indexes yet: visnet index build\n")
    sources = embedded_shop(Store(str(tmp_path / "store"))).sources
    build(sources, IndexSettings(), InProcess())
    build(sources, IndexSettings(kind="ivf-pq", recall_k=5), InProcess())
    code, output = run(tmp_path, "list")
    assert code == 0
    first, second = output.splitlines()
    assert "30 rows  2 shards  exact  shop-v1" in first
    assert "30 rows  2 shards  ivf-pq (ann_recall_at_5 1.0000)  shop-v1" in second
    described = json.loads(run(tmp_path, "list", "--json")[1])["described"]
    assert [(one["kind"], one["ann_recall_at_k"]) for one in described] == [("exact", None), ("ivf-pq", 1.0)]


def test_the_help_teaches_what_to_raise(tmp_path: Path) -> None:
    output = " ".join(CliRunner().invoke(index, ["build", "--help"]).output.split())
    for words in ("nothing is missed", "the first thing to raise", "the second thing to raise", "leaves no index"):
        assert words in output
