"""Fashion-MNIST: 70,000 photos of real products in 10 categories, 28x28, grey.

Taken from Debian's package `dataset-fashion-mnist` (installed, or downloaded and unpacked without root), or else
through torchvision's download. Source: Xiao, Rasul, Vollgraf, arXiv:1708.07747 (MIT licence).
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from visnet.platform.errors import CatalogError
from visnet.platform.imaging import encode_png
from visnet.platform.importers import Source

logger = logging.getLogger(__name__)

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
CATEGORIES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
BATCH = 2_000


def open_source(path: str | None) -> Source:
    """The data set in a folder of its four files; found or fetched if `path` is None."""
    folder = Path(path) if path else _find()
    files = {
        split: (_open(folder, f"{stem}-images-idx3-ubyte"), _open(folder, f"{stem}-labels-idx1-ubyte"))
        for split, (stem, _) in SPLITS.items()
    }
    digest = hashlib.sha256(b"".join(part for pair in files.values() for part in pair)).hexdigest()[:12]
    return Source(
        description="Fashion-MNIST",
        version=digest,
        images=sum(count for _, count in SPLITS.values()),
        batches=lambda: _batches(files),
    )


def _batches(files: dict[str, tuple[bytes, bytes]]) -> Iterator[pa.Table]:
    for split, (images, labels) in files.items():
        count = SPLITS[split][1]
        if len(images) != 16 + count * 28 * 28 or len(labels) != 8 + count:
            raise CatalogError(f"the {split} files of Fashion-MNIST do not hold {count} pictures of 28x28")
        pixels = np.frombuffer(images, np.uint8, offset=16).reshape(count, 28, 28)
        numbers = np.frombuffer(labels, np.uint8, offset=8)
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))
            yield pa.table(
                {
                    "image_id": [f"{split}-{row:05d}" for row in rows],
                    "product_id": [f"{split}-{row:05d}" for row in rows],
                    "category": [CATEGORIES[numbers[row]] for row in rows],
                    "image": pa.array([encode_png(pixels[row]) for row in rows], pa.binary()),
                    "split": pa.array([split] * len(rows)),
                }
            )


def _open(folder: Path, stem: str) -> bytes:
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            data = path.read_bytes()
            try:
                return gzip.decompress(data) if path.suffix == ".gz" else data
            except (OSError, EOFError, zlib.error) as error:
                raise CatalogError(f"{path} is broken: {error}") from None
    raise CatalogError(f"no {stem}[.gz] in {folder}: name the folder with the four files of Fashion-MNIST")


def _find() -> Path:
    """The folder of the four files: installed, fetched before, from Debian, or from torchvision."""
    if INSTALLED.is_dir():
        return INSTALLED
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "visnet"
    unpacked = cache / PACKAGE / str(INSTALLED).lstrip("/")
    if unpacked.is_dir():
        return unpacked
    reasons = []
    for fetch in (_fetch_debian, _fetch_torchvision):
        try:
            return fetch(cache)
        except CatalogError as error:
            logger.warning("%s", error)
            reasons.append(str(error))
    raise CatalogError(
        f"can't get Fashion-MNIST: {'; '.join(reasons)}. Put its four files in a folder and run "
        "visnet catalog import fashion-mnist FOLDER --name fashion-mnist"
    )


def _fetch_debian(cache: Path) -> Path:
    """Download and unpack Debian's package, with package lists of our own where the system's don't help: no root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise CatalogError(f"Debian's {PACKAGE}: this is not a Debian system (no apt-get)")
    logger.info("downloading Debian's %s", PACKAGE)
    downloads = cache / "apt"
    (downloads / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (downloads / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    own = [f"-oDir::State::Lists={downloads / 'lists'}", f"-oDir::Cache={downloads}", "-oAPT::Sandbox::User="]
    with contextlib.suppress(CatalogError):  # the system's lists may do; if not, ours are fetched
        _run(["apt-get", "-oAPT::Sandbox::User=", "download", PACKAGE], downloads)
    if not list(downloads.glob(f"{PACKAGE}_*.deb")):
        _run(["apt-get", *own, "update"], downloads)
        _run(["apt-get", *own, "download", PACKAGE], downloads)
    target = cache / PACKAGE
    _run(["dpkg", "-x", str(next(downloads.glob(f"{PACKAGE}_*.deb"))), f"{target}.partial"], downloads)
    shutil.rmtree(target, ignore_errors=True)
    Path(f"{target}.partial").rename(target)
    shutil.rmtree(downloads)
    return target / str(INSTALLED).lstrip("/")


def _fetch_torchvision(cache: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    logger.info("downloading Fashion-MNIST with torchvision")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            FashionMNIST(root=str(cache / "torchvision"), download=True)
    except (OSError, RuntimeError) as error:
        raise CatalogError(f"torchvision's download: {error}") from None
    return cache / "torchvision" / "FashionMNIST" / "raw"


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise CatalogError(f"Debian's {PACKAGE}: {command[0]} took over 300 s") from None
    except subprocess.CalledProcessError as error:
        raise CatalogError(f"Debian's {PACKAGE}: {' '.join(error.stderr.split())[-200:]}") from None
