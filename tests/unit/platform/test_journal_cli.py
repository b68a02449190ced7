"""`visnet journal`, and an import that says what of the journal it holds."""

import json
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.journals import append, opened, upsert
from tests.release_pieces import DIGEST
from visnet.platform.catalog import open_catalog
from visnet.platform.catalog_cli import catalog
from visnet.platform.errors import SettingsError
from visnet.platform.fold import open_fold
from visnet.platform.index import IndexManifest
from visnet.platform.journal import JournalGapError
from visnet.platform.journal_cli import journal
from visnet.platform.journal_place import journal_of, journal_place
from visnet.platform.manifest import write_manifest
from visnet.platform.release import ReleaseManifest, promote
from visnet.platform.store import Store


def run(command: click.Command, store: Store, *arguments: str, settings: str = "{}") -> tuple[int, Any]:
    """The exit code, and the JSON result or the text that was printed."""
    file = Path(store.location).parent / "cluster.yaml"
    file.write_text(f"metadata: {{visnet: {settings}}}")
    options = ["--store", store.location, "--cluster-file", str(file), "--json"]
    ran = CliRunner().invoke(command, [*arguments, *options])
    return ran.exit_code, json.loads(ran.output.splitlines()[-1]) if ran.exit_code == 0 else ran.output


def write(store: Store, entries: int) -> None:
    with opened(str(journal_place(store, None))) as live:
        append(live, *[upsert(f"p{n}", n % 30) for n in range(entries)])


def releases(store: Store, *sequences: int) -> None:
    """A release for each of these, whose index holds the journal up to it; the first is the current one."""
    for number, sequence in enumerate(sequences):
        catalog = {"catalog": "shop", "catalog_version": f"v{number}"}
        of = {"encoder": "e", "encoder_digest": DIGEST, "index": f"x{number}", **catalog}
        index = IndexManifest(
            **of, dimension=8, metric="", rows=0, products=0, shard_rows=[], settings={}, journal_sequence=sequence
        )
        write_manifest(store, f"indexes/{index.index}", index)
        made = ReleaseManifest(**of, release=f"r{number}", recommendations="", evaluation={}, gates=[])
        write_manifest(store, f"releases/{made.release}", made)
    promote(store, "r0")


def test_counts(store: Store) -> None:
    assert run(journal, store, "counts")[1] == {"entries": 0, "images": 0, "image_bytes": 0, "head": 0, "trimmed": 0}
    write(store, 3)
    assert run(journal, store, "counts")[1] == {"entries": 3, "images": 3, "image_bytes": 27, "head": 3, "trimmed": 0}


@pytest.mark.parametrize(
    ("sequences", "options", "upto"),
    [
        ([], [], 0),
        ([4], [], 4),
        ([5, 3, 9], [], 3),
        ([5, 3, 9], ["--keep-releases", "1"], 5),
        ([9, 3, 5], ["--keep-releases", "2"], 3),
        ([0, 9], ["--keep-releases", "1"], 0),
        ([12, 12], [], 10),
    ],
)
def test_trimmed_is_what_every_release_holds(store: Store, sequences: list[int], options: list[str], upto: int) -> None:
    write(store, 10)
    if sequences:
        releases(store, *sequences)
    wanted = {"upto": upto, "forgotten": upto, "trimmed": upto}
    assert run(journal, store, "trim", "--dry-run", *options)[1] == {**wanted, "dry_run": True}
    assert run(journal, store, "counts")[1]["entries"] == 10
    assert run(journal, store, "trim", *options)[1] == {**wanted, "dry_run": False}
    found = run(journal, store, "counts")[1]
    assert (found["entries"], found["images"], found["trimmed"], found["head"]) == (10 - upto, 10 - upto, upto, 10)
    assert run(journal, store, "trim", *options)[1] == {**wanted, "forgotten": 0, "dry_run": False}


def shop(store: Store, *options: str) -> dict[str, Any]:
    """Import the same source."""
    path = Path(store.location).parent / "shop.parquet"
    ids = ["p0", "p1"]
    rows = {"image_id": ids, "product_id": ids, "category": ["c"] * 2, "image": pa.array([b"0", b"1"], pa.binary())}
    if not path.exists():
        pq.write_table(pa.table(rows), path)
    code, result = run(catalog, store, "import", "table", str(path), "--name", "shop", *options)
    assert code == 0, result
    made: dict[str, Any] = result
    return made


def test_an_import_that_holds_the_journal_wins_over_it(store: Store) -> None:
    plain = shop(store, "--journal-included")  # there is nothing yet
    assert (plain["journal_sequence"], plain["reused"]) == (0, False)
    write(store, 2)
    assert shop(store) == {**plain, "reused": True, "seconds": 0.0, "images_per_s": 0.0}
    with opened(str(journal_place(store, None))) as live:
        assert open_fold(store, "shop", live).entries == 2
        included = shop(store, "--journal-included")
        assert (included["journal_sequence"], included["reused"]) == (2, False)
        assert open_catalog(store, "shop").manifest.version == included["version"] != plain["version"]
        assert open_fold(store, "shop", live).entries == 0
        assert shop(store, "--journal-included")["reused"]
        write(store, 3)
        assert shop(store, "--journal-included")["journal_sequence"] == 5


def test_after_a_trim_an_import_without_the_journal_is_refused(store: Store) -> None:
    write(store, 4)
    releases(store, 4)
    run(journal, store, "trim")
    shop(store)
    with opened(str(journal_place(store, None))) as live, pytest.raises(JournalGapError, match="no longer kept"):
        open_fold(store, "shop", live)
    shop(store, "--journal-included")
    with opened(str(journal_place(store, None))) as live:
        assert open_fold(store, "shop", live).entries == 0


def test_a_journal_in_a_database_has_to_be_named() -> None:
    with pytest.raises(SettingsError, match=r"memory://shop is no folder.*serve.journal"):
        journal_of(Store("memory://shop"), None)
