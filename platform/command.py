"""What the commands share: the options for settings, store and output, and the mapping of errors to exit codes.

Exit codes: 0 done, 1 something went wrong that the text explains, 2 wrong usage, 130 interrupted. Results go to
standard output, all else to standard error; with `--json` the last line of standard output is one JSON object.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from visnet.platform.cluster import Connection, session
from visnet.platform.errors import SettingsError, VisnetError
from visnet.platform.fleet.definition import ClusterDefinition, find_definition
from visnet.platform.logs import log_to_stderr
from visnet.platform.pools import ALL, Pool, pool_of
from visnet.platform.settings import Settings
from visnet.platform.settings_file import find_cluster_file, load_settings
from visnet.platform.store import Store

LOGICAL_CPUS_PER_CORE = 4
"""What a local cluster offers: its parts share the cores instead of waiting for each other to end."""
SHARED_MEMORY = "/dev/shm"
STORE_BYTES = (2**30, 2**33)
"""The least and the most of a local cluster's object store; between them a fifth of the shared memory there is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the shared options of a command come to."""

    settings: Settings
    cluster_file: Path | None
    as_json: bool

    @functools.cached_property
    def store(self) -> Store:
        return Store(self.settings.store)

    def fitted(self, fit: bool) -> Settings:
        """The settings, cut to the size of the connected cluster if `fit`."""
        if not fit:
            return self.settings
        cpus, gpus = self.cluster_size()
        return self.settings.cut_to(cpus=cpus, gpus=gpus)

    def cluster_size(self) -> tuple[int, int]:
        """Cores and GPUs that the session's cluster has, or may get, for this work."""
        from visnet.platform import cluster, ray_nodes

        connection = cluster.current()
        pool = ALL if connection is None else connection.pool
        cpus, gpus = ray_nodes.total(ray_nodes.capacity(pool))
        return max(1, int(cpus) // LOGICAL_CPUS_PER_CORE), int(gpus)

    def pool(self, name: str | None, *, setting: str) -> Pool:
        """A pool of the cluster file."""
        return pool_of(self.definition, name, setting=setting)

    @functools.cached_property
    def definition(self) -> ClusterDefinition | None:
        """The cluster file's machines; None if there is no file, or it names none."""
        return None if self.cluster_file is None else find_definition(self.cluster_file)

    @contextlib.contextmanager
    def cluster(self, address: str | None, *, serving: bool = False) -> Iterator[Connection]:
        """The Ray cluster for a command's time: the one at `address`, or one of its own on this machine.

        Args:
            serving: whether it works in the service's pool, not in that of the jobs.
        """
        serve = self.settings.serve
        pool = self.pool(serve.pool, setting="serve.pool") if serving else self.pool(self.settings.pool, setting="pool")
        cpus = LOGICAL_CPUS_PER_CORE * (os.cpu_count() or 1)
        env = {"RAY_DATA_DISABLE_PROGRESS_BARS": "1"}  # our own lines say where a pass stands
        os.environ.update(env)
        store_bytes = object_store_bytes()
        options: dict[str, Any] = {"num_cpus": cpus, "object_store_bytes": store_bytes, "env": env, "pool": pool}
        with session(address, log_to_driver=True, **options) as connection:
            yield connection

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the store."""
        content: dict[str, Any] = json.loads(self.store.read(name))
        return content

    def report(self, result: dict[str, Any], text: str) -> None:
        """Print what a command has to say: `text` for people, `result` for machines."""
        click.echo(json.dumps(result) if self.as_json else text)


def object_store_bytes() -> int:
    """Of a local cluster: what is kept in it, such as decoded pictures to train on, is not made again."""
    least, most = STORE_BYTES
    try:
        return min(most, max(least, shutil.disk_usage(SHARED_MEMORY).free // 5))
    except OSError:  # no such place on this system; Ray finds another
        return least


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --store, --cluster-file and --json, and passes them on as `invocation`."""

    @click.option("--store", metavar="PATH|URL", help="The store, instead of the cluster file's.")
    @click.option("--cluster-file", metavar="FILE", help="Default: cluster.yaml here or in a folder above.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, last on stdout.")
    @functools.wraps(function)
    def wrapper(store: str | None, cluster_file: str | None, as_json: bool, **options: Any) -> Any:
        log_to_stderr()
        try:
            path = find_cluster_file(cluster_file)
            settings = load_settings(path)
            if store:
                settings = dataclasses.replace(settings, store=store)
            _refuse_lost_store(settings.store)
            return function(invocation=Invocation(settings=settings, cluster_file=path, as_json=as_json), **options)
        except (VisnetError, ValueError) as error:
            raise click.ClickException(str(error)) from (error if not isinstance(error, VisnetError) else None)

    return wrapper


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --address (of the Ray cluster) and --fit."""
    address = click.option(
        "--address", metavar="HOST:PORT", help="The Ray cluster; default: $RAY_ADDRESS or a local one."
    )
    fit = click.option("--fit", is_flag=True, help="Cut the cluster file's sizes to the cluster at hand.")
    return address(fit(function))


def where_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --where COLUMN=VALUE, passed on as a pair."""

    def split(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, str] | None:
        if value is None:
            return None
        column, equals, wanted = value.partition("=")
        if not (column and equals):
            raise click.BadParameter(f"expected COLUMN=VALUE, got {value!r}")
        return column, wanted

    help = "Only rows of the catalogue with this value, such as split=train."
    return click.option("--where", metavar="COLUMN=VALUE", callback=split, help=help)(function)


def overridden(settings: Any, **options: Any) -> Any:
    """Settings with the options that were given; None means not given."""
    return dataclasses.replace(settings, **{name: value for name, value in options.items() if value is not None})


def _refuse_lost_store(location: str) -> None:
    """A relative store inside a submitted job would lie in Ray's copy of the folder, and go with it."""
    in_job_copy = "runtime_resources/working_dir_files" in str(Path.cwd())
    if in_job_copy and "://" not in location and not Path(location).expanduser().is_absolute():
        raise SettingsError(
            f"the store {location!r} is a relative path, but this runs as a Ray job in a temporary copy of your "
            "folder: pass --store with an absolute path or a URL that every node reaches, or set "
            "metadata.visnet.store so"
        )
