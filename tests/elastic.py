"""A cluster of this machine's processes that grows and shrinks, from the repository's cluster.yaml cut to its size."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.ports import free_port
from tests.served_shop import picture
from visnet.platform.fleet import local
from visnet.platform.fleet.local_nodes import HEAD

ROOT = Path(__file__).parents[1]
PATIENCE_S = 240.0


def cut_file(place: Path, store: str, name: str) -> Path:
    """The repository's cluster.yaml with small machines, few of them, and settings that react within seconds."""
    content = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    content["cluster_name"] = name
    content["max_workers"] = 6
    types = content["available_node_types"]
    types["gpu"].update(resources={"CPU": 3, "GPU": 1}, max_workers=3)
    types["serve"].update(resources={"CPU": 3, "GPU": 1}, max_workers=3)
    types["cpu"].update(max_workers=0)
    settings = content["metadata"]["visnet"]
    settings["store"] = store
    few = {"steps": 60, "checkpoint_every_steps": 5, "validate_every_steps": 60, "batch_size": 32}
    settings["train"] = {"recipe": "visnet-tiny", "workers": 2, "cpus_per_worker": 1.0, "decoding_cpus": 1.0, **few}
    settings["embed"] = {"actors": 3, "cpus_per_actor": 1.0, "decoding_cpus": 1.0, "unit_rows": 8}
    settings["embed"]["fetch"] = {"per_host": 6}
    port = free_port()
    settings["serve"].update(port=port, cached_photos=0)
    settings["serve"]["shard"] = {"replicas": 2, "gpus": 0.25, "cpus": 0.2}
    settings["serve"]["embedder"] = {"min_replicas": 1, "max_replicas": 3, "gpus": 0.5, "cpus": 0.5}
    settings["serve"]["embedder"] |= {"target_ongoing_requests": 2.0, "upscale_delay_s": 1.0, "downscale_delay_s": 6.0}
    place.write_text(yaml.safe_dump(content))
    return place


@dataclass
class Job:
    """A submitted command, followed in the background."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def result(self) -> dict[str, Any]:
        """What it reported, when it is over."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(10)
        assert code == 0, self.log[-6_000:]
        reported = [line for line in self.lines if line.startswith('{"job"')]
        found: dict[str, Any] = json.loads(reported[-1])["result"]
        return found


@dataclass(frozen=True)
class Elastic:
    """The cluster, its file and its service's port."""

    file: Path
    name: str

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.file.read_text())["metadata"]["visnet"]
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['serve']['port']}"

    @property
    def up(self) -> local.LocalUp:
        found = local.find(self.name)
        assert found is not None
        return found

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "visnet.platform", *arguments, "--cluster-file", str(self.file), "--json"]

    def run(self, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def submit(self, *arguments: str) -> Job:
        command = self.command("submit", *arguments, "--address", self.up.dashboard_url)
        started = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return Job(started)

    def nodes(self, kind: str) -> list[str]:
        """The ids of a type's nodes whose processes run."""
        return [node.id for node in self.up.nodes.all() if node.id.startswith(f"{kind}-")]

    def titles(self, node: str) -> list[str]:
        """What runs on a node: Ray's titles of its workers."""
        known = self.up.nodes.get(node)
        found = []
        for pid in self.up.nodes.processes(known) if known is not None else []:
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def holding(self, what: str) -> list[str]:
        """The nodes on which a process has this in its title."""
        nodes = [node.id for node in self.up.nodes.all() if node.id != HEAD]
        return [node for node in nodes if any(what in title for title in self.titles(node))]

    def kill(self, node: str) -> None:
        """A machine that is gone at once: every process of the node, by SIGKILL."""
        assert self.run("cluster", "kill", node)["processes"] > 0


class Shoppers:
    """Searches that go on in the background, of products and of photos; what became of them is counted.

    Each has a connection of its own: one that is kept may be closed by HAProxy, which starts anew when replicas change,
    just when the next request is sent on it. As `visnet.platform.client` does, a shopper asks once more if a connection
    breaks or HAProxy answers instead of the service, as it may while an ingress dies; these first tries are kept.
    """

    def __init__(self, url: str, *, products: int, photos: int, pause_s: float = 0.05) -> None:
        self._url, self._pause_s = url, pause_s
        self._over = threading.Event()
        self.statuses: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.asked_again: list[str] = []
        asking = [self._product] * products + [self._photo] * photos
        self._threads = [threading.Thread(target=self._ask, args=(what, n)) for n, what in enumerate(asking)]

    def __enter__(self) -> Shoppers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, what: Callable[[httpx.Client, int], httpx.Response], number: int) -> None:
        fresh = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self._url, timeout=60, limits=fresh) as client:
            turn = 0
            while not self._over.is_set():
                turn += 1
                seed = 100_000 * (number + 1) + turn
                broken = self._once(client, what, seed)
                if broken is not None:
                    self.asked_again.append(f"{time.strftime('%X')} {broken}")
                    broken = self._once(client, what, seed)
                if broken is not None:
                    self._count(broken)
                time.sleep(self._pause_s)

    def _once(self, client: httpx.Client, what: Callable[[httpx.Client, int], httpx.Response], seed: int) -> str | None:
        """Count what the service answers; otherwise, say what came instead."""
        try:
            answer = what(client, seed)
        except httpx.TransportError as error:
            return f"{type(error).__name__}: {error}"
        told = f"{answer.status_code}: {answer.text[:300]}"
        if answer.status_code != 200 and "json" not in answer.headers.get("content-type", ""):
            return told
        self._count("found" if answer.status_code == 200 and not answer.json()["partial"] else told)
        return None

    def _count(self, what: str) -> None:
        self.statuses["found" if what == "found" else "failed"] += 1
        if what != "found":
            self.failures.append(f"{time.strftime('%X')} {what}")

    @staticmethod
    def _product(client: httpx.Client, seed: int) -> httpx.Response:
        return client.post("/v1/search", json={"product_id": f"p{seed % 60:04d}", "k": 5})

    @staticmethod
    def _photo(client: httpx.Client, seed: int) -> httpx.Response:
        return client.post("/v1/search", files={"image": picture(seed)}, data={"k": 3})


def wait_for(condition: Callable[[], Any], what: str, *, patience_s: float = PATIENCE_S) -> None:
    over = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < over, what
        time.sleep(0.25)
