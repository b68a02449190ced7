"""The import root: `platform/` must never shadow the standard library, and everything is found as `visnet.…`.

See visnet.py. With a `platform/__init__.py`, whatever has the root on its path dies in `import uuid`, and a job that
Ray starts there stays pending without a word.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from visnet.platform import settings

ROOT = Path(settings.__file__).resolve().parent.parent
FOLDERS = ("platform", "train", "batch", "serve")
SETUPTOOLS = 77


@pytest.fixture(scope="module")
def declared() -> dict[str, str]:
    """The packages that pyproject.toml lists, with their folders."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert sorted(tool["packages"]) == sorted(tool["package-dir"])
    return dict(tool["package-dir"])


def python(code: str, cwd: Path, path: str | None = None) -> str:
    """What `python -c` prints, with the folder `cwd` first on its path as `-c` does."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=env | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_platform_is_no_package_of_its_own() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_platform_is_the_standard_librarys() -> None:
    assert python("import platform; print(platform.system())", ROOT) == "Linux"
    assert python("import platform; print(platform.system())", ROOT.parent, path=str(ROOT)) == "Linux"


@pytest.mark.parametrize("path", [None, str(ROOT)])
def test_standard_library_and_visnet_together(path: str | None, tmp_path: Path) -> None:
    code = "import uuid, visnet.platform.errors as errors; print(errors.__file__)"
    assert python(code, tmp_path if path else ROOT, path) == str(ROOT / "platform" / "errors.py")


def test_no_file_shadows_the_standard_library_when_a_script_beside_it_runs() -> None:
    found = {file.stem for folder in FOLDERS for file in (ROOT / folder).glob("*.py")}
    imported_early = {
        "queue",
        "types",
        "random",
        "select",
        "signal",
        "socket",
        "logging",
        "json",
        "io",
        "copy",
        "token",
    }
    assert found & imported_early == set()


def test_pytest_started_as_a_module_from_the_root(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text("import platform, uuid\ndef test_it():\n    import visnet.platform.errors\n    platform.system()\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    ran = subprocess.run([*command, str(test)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def packages_on_disk() -> Iterator[str]:
    for folder in FOLDERS:
        for path in (ROOT / folder, *(ROOT / folder).rglob("*")):
            if path.is_dir() and any(path.glob("*.py")):
                yield str(path.relative_to(ROOT))


def test_every_folder_with_code_is_declared(declared: dict[str, str]) -> None:
    assert sorted(packages_on_disk()) == sorted(declared.values())
    assert all(name == "visnet." + folder.replace("/", ".") for name, folder in declared.items())


def test_the_wheel_holds_visnet_and_nothing_else(declared: dict[str, str], tmp_path: Path) -> None:
    for tool in ("pip", "setuptools"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"no {tool} to build a wheel with, offline")
    setuptools = importlib.metadata.version("setuptools")
    if int(setuptools.split(".")[0]) < SETUPTOOLS:
        pytest.skip(f"setuptools {setuptools} can't read our pyproject.toml: needs {SETUPTOOLS}")
    source = tmp_path / "source"  # building leaves files beside the source
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "visnet.py"):
        shutil.copy(ROOT / file, source)
    (source / "README.md").touch()
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    ran = subprocess.run(
        [sys.executable, *build, str(tmp_path), str(source)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    names = zipfile.ZipFile(next(tmp_path.glob("visnet-*.whl"))).namelist()
    code = {name for name in names if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in code} == {"visnet"}
    expected = {
        f"{name.replace('.', '/')}/{file.name}"
        for name, folder in declared.items()
        for file in (ROOT / folder).glob("*.py")
    }
    assert {name for name in code if name.endswith(".py")} == expected
    assert "visnet/platform/__init__.py" not in code
    page = ROOT / "serve" / "page"
    expected = {f"visnet/serve/page/{file.relative_to(page)}" for file in page.rglob("*") if file.is_file()}
    assert {name for name in code if name.startswith("visnet/serve/page/")} == expected
