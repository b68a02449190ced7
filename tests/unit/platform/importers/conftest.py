"""What the importers' tests need: files made on the spot, and a catalogue made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visnet.platform.catalog import Catalog, write_catalog
from visnet.platform.importers import Source, open_source
from visnet.platform.store import Store


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file below the data set's folder, which is `tmp_path/data`."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def load(store: Store) -> Callable[..., Catalog]:
    """Imports a folder or a file, or an opened source, into a catalogue."""

    def write(source: Source | str, path: Path | None = None) -> Catalog:
        opened = source if isinstance(source, Source) else open_source(source, str(path))
        return write_catalog(
            store,
            name="shop",
            version=opened.version,
            source=opened.description,
            batches=opened.batches(),
            photos=opened.photos() if opened.photos else (),
            skipped=opened.skipped,
        )

    return write


@pytest.fixture
def by_id() -> Callable[[Any], dict[str, dict[str, Any]]]:
    """The rows of a table by their image's id."""
    return lambda table: {row["image_id"]: row for row in table.to_pylist()}
