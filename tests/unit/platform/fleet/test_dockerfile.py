"""The container recipe. There is no Docker daemon to build it with: its lines are read, and what they copy is built."""

import fnmatch
import importlib.metadata
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visnet.platform.fleet.kuberay_pods import USER

ROOT = Path(__file__).parents[4]
FILE = ROOT / "platform" / "fleet" / "Dockerfile"


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def copies(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """Where each thing that is copied goes."""
    found = {}
    for name, rest in instructions:
        if name == "COPY":
            *sources, place = rest.split()
            found |= {source: place + source if place.endswith("/") else place for source in sources}
    return found


def test_all_that_is_copied_exists_and_is_sent_to_the_build(instructions: list[tuple[str, str]]) -> None:
    lines = FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert sent == set(copies(instructions))
    assert [source for source in sent if not (ROOT / source).exists()] == []
    assert not any(fnmatch.fnmatch(".git", each) or "token" in each for each in sent)


def test_it_is_the_cluster_files_python_and_its_pins(instructions: list[tuple[str, str]]) -> None:
    install = next(rest for name, rest in instructions if name == "RUN" and "pip install" in rest)
    assert "--constraint /visnet/constraints.txt" in install
    assert re.search(r'"/visnet\[postgres\]"', install)
    base = next(rest for name, rest in instructions if name == "ARG")
    assert base == f"PYTHON=python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def test_it_does_not_run_as_root_and_kubernetes_can_see_it(instructions: list[tuple[str, str]]) -> None:
    assert [rest for name, rest in instructions if name == "USER"] == [f"{USER}:{USER}"]
    assert [name for name, _ in instructions].index("USER") > [name for name, _ in instructions].index("RUN")
    made = next(rest for name, rest in instructions if name == "RUN" and "useradd" in rest)
    assert shlex.split(made)[shlex.split(made).index("--uid") + 1] == str(USER)


def test_it_names_no_registry_and_no_secret() -> None:
    text = FILE.read_text()
    assert "://" not in text
    assert not re.search(r"index-url|password|RAY_AUTH_TOKEN|AKIA|secret", text, re.IGNORECASE)


def test_what_is_copied_is_enough_to_build_the_wheel(instructions: list[tuple[str, str]], tmp_path: Path) -> None:
    if importlib.util.find_spec("pip") is None or int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("no pip and setuptools to build a wheel with, offline")
    for source, place in copies(instructions).items():
        to = tmp_path / place.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, to)
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    ran = subprocess.run(
        [sys.executable, *build, str(tmp_path), str(tmp_path / "visnet")], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert list(tmp_path.glob("visnet-*.whl"))
