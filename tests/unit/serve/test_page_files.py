"""The page's files as they are sent: whole, small, from nowhere else, and what caches hear of them."""

from __future__ import annotations

import gzip
import re

import pytest

from visnet.serve.page_files import FOLDER, INDEX, page_answer, page_files
from visnet.serve.problems import ProblemError

FIRST_VIEW_BYTES = 100_000
IMPORTS = re.compile(r"""(?:^import\s+|\bfrom\s+)["'](\.[^"']+)["']""", re.MULTILINE)
LATER = re.compile(r"""\bimport\(["'](\.[^"']+)["']\)""")
STYLES = re.compile(r"""\bstyled\(["']([^"']+)["']\)""")
SOURCES = sorted(path for path in FOLDER.rglob("*.js") if path.parent.name != "vendor")


def code(module: str) -> str:
    """A module without its comments."""
    return re.sub(r"^\s*(//|/?\*).*$", "", (FOLDER / module).read_text(), flags=re.MULTILINE)


def loaded_with(name: str, *, later: bool = False) -> set[str]:
    """A module and all that it imports, at once or also `later`."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            text = code(module)
            names = IMPORTS.findall(text) + (LATER.findall(text) if later else [])
            waiting += [((FOLDER / module).parent / one).resolve().relative_to(FOLDER).as_posix() for one in names]
    return found


def test_a_file_comes_plain_or_compressed() -> None:
    plain = page_answer(INDEX, accept_encoding=None, if_none_match=None)
    packed = page_answer("app.js", accept_encoding="br, gzip", if_none_match=None)
    assert (bytes(plain.body), plain.media_type) == ((FOLDER / INDEX).read_bytes(), "text/html")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(bytes(packed.body)) == (FOLDER / "app.js").read_bytes()
    assert packed.headers["content-type"].startswith("text/javascript")
    assert packed.headers["Vary"] == "Accept-Encoding"


def test_who_has_it_hears_that_nothing_changed() -> None:
    etag = page_answer("app.js", accept_encoding=None, if_none_match=None).headers["ETag"]
    again = page_answer("app.js", accept_encoding="gzip", if_none_match=etag)
    assert (again.status_code, again.headers["ETag"], again.headers["Cache-Control"]) == (304, etag, "no-cache")


@pytest.mark.parametrize("path", ["nothing.js", "../page_files.py", "/etc/passwd", "vendor", ""])
def test_nothing_else_is_a_file_of_the_page(path: str) -> None:
    with pytest.raises(ProblemError) as missing:
        page_answer(path, accept_encoding=None, if_none_match=None)
    assert missing.value.status == 404


def test_the_first_view_is_light() -> None:
    """Uncompressed; the browser's test measures it on the wire."""
    index = (FOLDER / INDEX).read_text()
    styles = re.findall(r'href="page/([^"]+\.css)"', index)
    files = {INDEX, "icon.svg", *styles, *loaded_with("app.js"), *loaded_with("search.js")}
    size = sum((FOLDER / name).stat().st_size for name in files)
    assert 10_000 < size < FIRST_VIEW_BYTES


def test_what_is_imported_is_there_and_nothing_lies_about_unused() -> None:
    reached = loaded_with("app.js", later=True)  # fails where a file is missing
    assert {source.name for source in SOURCES} <= reached
    styles = {name for source in SOURCES for name in STYLES.findall(code(source.name))}
    linked = set(re.findall(r'href="page/([^"]+\.css)"', (FOLDER / INDEX).read_text()))
    assert {path.name for path in FOLDER.glob("*.css")} == styles | linked


def test_nothing_comes_from_elsewhere_or_breaks_the_policy() -> None:
    index = (FOLDER / INDEX).read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=|<style", index)
    for path in [*SOURCES, *FOLDER.glob("*.css"), FOLDER / INDEX]:
        assert not re.search(r"https?://(?!www\.w3\.org/)", path.read_text()), path.name
        assert max(map(len, path.read_text().splitlines())) <= 120, path.name
        assert len(path.read_text().splitlines()) < 1_000, path.name


def test_every_module_says_what_it_is_for() -> None:
    for source in SOURCES:
        assert source.read_text().startswith("// "), source.name


def test_all_files_have_a_type_that_browsers_run() -> None:
    kinds = {path.rpartition(".")[2]: file.media_type for path, file in page_files().items()}
    assert kinds["js"] == "text/javascript"
    assert kinds["css"] == "text/css"
    assert kinds["svg"] == "image/svg+xml"
