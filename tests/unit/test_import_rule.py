"""The import rule as CI checks it: a planted import across the folders must fail it, the tree as it is must pass."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from visnet.platform import settings

ROOT = Path(settings.__file__).resolve().parent.parent
FOLDERS = ("platform", "train", "batch", "serve")

pytestmark = pytest.mark.skipif(
    not (Path(sys.prefix) / "bin" / "lint-imports").exists(), reason="import-linter is not installed"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the rule looks at."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "visnet.py", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    return tmp_path


@pytest.fixture
def check(tree: Path) -> Callable[[], "subprocess.CompletedProcess[str]"]:
    def run() -> "subprocess.CompletedProcess[str]":
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"VENV": sys.prefix}
        return subprocess.run([tree / ".ci" / "import-rule"], env=env, capture_output=True, text=True, timeout=60)

    return run


def test_the_tree_keeps_the_rule(check: Callable[[], "subprocess.CompletedProcess[str]"]) -> None:
    ran = check()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("train/loop.py", "from visnet.batch import embed", "never each other"),
        ("serve/app.py", "import visnet.train.loop", "never each other"),
        ("batch/embed.py", "def late():\n    from visnet.serve import app", "never each other"),
        ("platform/settings.py", "from visnet.train import loop", "platform imports none"),
        ("platform/store.py", "import ray", "no Ray and no HTTP"),
    ],
)
def test_a_planted_import_breaks_it(
    tree: Path, check: Callable[[], "subprocess.CompletedProcess[str]"], file: str, line: str, contract: str
) -> None:
    with (tree / file).open("a") as planted:  # the file must be there
        planted.write(f"\n\n{line}\n")
    ran = check()
    assert ran.returncode != 0
    broken = [shown for shown in ran.stdout.splitlines() if shown.endswith("BROKEN")]
    assert any(contract in shown for shown in broken), ran.stdout
