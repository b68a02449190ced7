"""A folder of pictures: its sub-folders are the categories, each picture a product of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from visnet.platform.errors import CatalogError
from visnet.platform.importers import Source
from visnet.platform.manifest import digest_of

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
BATCH = 200


def open_source(path: str | None) -> Source:
    """All pictures below `path`; the category is the path of the folder a picture is in, the id its own path.

    A picture right in `path` has the category "uncategorised". A broken picture is imported as it is: the catalogue
    pass will quarantine it with the reason.
    """
    if path is None or not (root := Path(path)).is_dir():
        raise CatalogError(f"the format folder needs the path of a folder, got {path!r}")
    pictures = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not pictures:
        raise CatalogError(f"no pictures below {root} (looked for {', '.join(sorted(SUFFIXES))})")
    content = [(str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns) for file in pictures]
    return Source(
        description=f"folder {root.name}",
        version=digest_of("folder", content),
        images=len(pictures),
        batches=lambda: _batches(root, pictures),
    )


def _batches(root: Path, pictures: list[Path]) -> Iterator[pa.Table]:
    for start in range(0, len(pictures), BATCH):
        files = [(file, file.relative_to(root)) for file in pictures[start : start + BATCH]]
        names = [name.as_posix() for _, name in files]
        yield pa.table(
            {
                "image_id": names,
                "product_id": names,
                "category": [name.parent.as_posix() if name.parent != Path() else "uncategorised" for _, name in files],
                "image": pa.array([file.read_bytes() for file, _ in files], pa.binary()),
            }
        )
