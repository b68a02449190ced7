"""The annotation files of published data sets: found where the archives put them, read line by line, mended a little.

Blank lines, the line ends of Windows and a byte order mark are passed over; a line that can't be used is put on the
list of what was skipped and the reading goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from visnet.platform.catalog_rows import Skipped
from visnet.platform.errors import CatalogError

WRONG_COUNT = "the count in the first line is wrong, all lines were read"
WRONG_LENGTH = "line with more or fewer fields than the header"


def data_set_folder(format: str, path: str | None) -> Path:
    """The absolute path of a data set's folder; raises CatalogError if there is none."""
    if path is None or not (root := Path(path)).is_dir():
        raise CatalogError(f"the format {format} needs the path of the data set's folder, got {path!r}")
    return root.absolute()


def find(root: Path, *names: str) -> Path | None:
    """The first of some files or folders below `root` that exists."""
    return next((root / name for name in names if (root / name).exists()), None)


def needed(format: str, root: Path, *names: str) -> Path:
    """As `find`; raises CatalogError, which says what was looked for where, if none exists."""
    if (found := find(root, *names)) is None:
        raise CatalogError(f"{format}: no {' or '.join(names)} in {root}: name the folder of the unpacked data set")
    return found


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, stripped, each with its number from 1."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            for number, line in enumerate(stream, start=1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise CatalogError(f"can't read {file}: {error}") from None


def rows(file: Path, columns: tuple[str, ...], skipped: list[Skipped]) -> Iterator[list[str]]:
    """The fields named `columns`, in that order, of every line of a file of columns parted by white space.

    The file may begin with a line that holds the number of rows; then comes the header.

    Raises:
        CatalogError: there is no header with these columns.
    """
    texts = lines(file)
    count, header = _head(file, texts, columns)
    places = [header.index(column) for column in columns]
    found = 0
    for number, text in texts:
        found += 1
        fields = text.split()
        if len(fields) == len(header):
            yield [fields[place] for place in places]
        else:
            skipped.append(Skipped(f"{file.name} line {number}", WRONG_LENGTH))
    if count not in (None, found):
        skipped.append(Skipped(f"{file.name}: {count} said, {found} found", WRONG_COUNT))


def _head(file: Path, texts: Iterator[tuple[int, str]], columns: tuple[str, ...]) -> tuple[int | None, list[str]]:
    """The number of rows that the file claims, if it does, and its header's fields."""
    count = None
    _, first = next(texts, (0, ""))
    if first.isdecimal():
        count = int(first)
        _, first = next(texts, (0, ""))
    header = first.split()
    if set(columns) <= set(header):
        return count, header
    raise CatalogError(f"{file} has no header with {' '.join(columns)}: found {first[:100]!r}")
