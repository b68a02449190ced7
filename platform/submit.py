"""`visnet submit`: run a command of visnet as a job on a cluster, from a machine that is no part of it.

Ray uploads this checkout (less what .gitignore and .rayignore name), unpacks it on the nodes and starts the job there
with it as working directory and first on PYTHONPATH, so nothing of visnet has to be installed on the nodes. See
visnet.py. The job's environment is the cluster's; its files are a copy that goes with the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import ClusterError, SettingsError
from visnet.platform.manifest import commit
from visnet.platform.ray_auth import auth_headers, ensure_token

logger = logging.getLogger(__name__)

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ANSWER_TIMEOUT_S = 10.0
STILL_PENDING_S = 15.0
"""How often a job that has not started yet says why."""

ENTRYPOINTS = {
    "train": ["visnet.train"],
    "detector": ["visnet.train.detection"],
    "embed": ["visnet.batch", "embed"],
    "index": ["visnet.batch", "index"],
    "recommend": ["visnet.batch", "recommend"],
    "fold": ["visnet.batch", "fold"],
    "serve": ["visnet.serve", "--detach"],  # the job ends, the service goes on
}
INTERRUPTED = 130

_ROOT = Path(__file__).resolve().parent.parent
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="COMMAND", type=click.Choice(list(ENTRYPOINTS)))
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--address", metavar="URL", help="The cluster's jobs API; default: see below.")
@click.option("--no-wait", is_flag=True, help="Print the job's id and return, instead of following its log.")
@click.option("--submission-id", metavar="ID", help="The job's id; default: Ray makes one.")
@click.option("--entrypoint-num-cpus", type=float, help="CPUs for the job's driver, which then may leave the head.")
@click.option("--entrypoint-num-gpus", type=float, help="GPUs for the driver.")
@click.option("--entrypoint-memory", type=int, metavar="BYTES", help="Memory for the driver.")
@shared_options
def submit(
    invocation: Invocation,
    name: str,
    arguments: tuple[str, ...],
    address: str | None,
    no_wait: bool,
    **options: Any,
) -> None:
    """Run train, detector, embed, index, recommend, fold or serve as a job on a Ray cluster, and follow its log.

    ARGS are the command's own, as in `visnet COMMAND ARGS`. The store must be one that the cluster reaches: a URL or an
    absolute path. Ctrl-C stops the following, not the job. The exit code is the job's.

    The address is --address, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS if it is a URL, else http://127.0.0.1:8265,
    where `ray dashboard cluster.yaml` opens the cluster of that file.

    \b
    Examples:
      visnet submit train --catalog shop --recipe visnet --store s3://bucket/visnet
      visnet submit index build --catalog shop --store s3://bucket/visnet --no-wait
    """
    url = jobs_address(address, os.environ)
    ensure_token()
    with _environment(url):
        here = functools.cache(lambda: one_machine(url, hosts(url)))
        store = store_for_job(invocation.settings.store, here)
        cluster_file = cluster_file_option(invocation.cluster_file, here)
        flags = ["--store", store, *cluster_file, *["--json"] * invocation.as_json]
        job = Job.start(url, entrypoint([*ENTRYPOINTS[name], *arguments, *flags]), options)
        if no_wait:
            result = {"job": job.id, "status": job.info().status.value, "address": url}
            invocation.report(result, f"{job.id}\n{job.hints()}")
            return
        status, code, log = job.follow(to_stderr=invocation.as_json)
    result = {"job": job.id, "status": status, "exit_code": code, "address": url, "result": last_json(log)}
    invocation.report(result, f"job {job.id} {status.lower()}" + (f", exit code {code}" if code else ""))
    raise SystemExit(code)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A submitted job."""

    client: Any
    """Ray's `JobSubmissionClient`."""
    url: str
    id: str

    @classmethod
    def start(cls, url: str, command: str, options: dict[str, Any]) -> Job:
        """Upload the checkout and submit.

        Raises:
            ClusterError: there is no checkout, nothing answers at `url`, or it refuses us or the job.
        """
        if not (_ROOT / "visnet.py").is_file():
            raise ClusterError(f"a job takes its code from a checkout of visnet, and {_ROOT} is none: run it from one")
        hosts(url)  # says what is wrong, before Ray's own client says less
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        runtime_env = {"working_dir": str(_ROOT), "env_vars": {"VISNET_COMMIT": commit()}}
        try:
            client = JobSubmissionClient(url)
            submitted = client.submit_job(entrypoint=command, runtime_env=runtime_env, **options)
        except (RayError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(f"the cluster at {url} did not take the job: {error}") from error
        logger.info("job %s: %s", submitted, command)
        return cls(client=client, url=url, id=submitted)

    def info(self) -> Any:
        """What Ray knows of the job: `status`, `message`, `driver_exit_code`.

        Raises:
            ClusterError: the cluster no longer answers.
        """
        try:
            return self.client.get_job_info(self.id)
        except (RuntimeError, OSError) as error:
            raise ClusterError(
                f"lost the cluster at {self.url}: {error}; the job may go on.\n{self.hints()}"
            ) from error

    def follow(self, *, to_stderr: bool) -> tuple[str, int, str]:
        """Print the log until the job has ended.

        Returns:
            Its status, its exit code (not 0 unless it succeeded) and its log.
        """
        try:
            self._await_start()
            log = self._print_log(to_stderr=to_stderr)
        except KeyboardInterrupt:
            click.echo(f"\njob {self.id} goes on.\n{self.hints()}", err=True)
            raise SystemExit(INTERRUPTED) from None
        info = self.info()
        if info.status == "SUCCEEDED":
            return info.status.value, 0, log
        if info.driver_exit_code is None and info.message:  # it never ran: only the message knows why
            click.echo(info.message, err=True)
        return info.status.value, max(1, info.driver_exit_code or 1), log

    def hints(self) -> str:
        """The commands to follow and to stop it."""
        ray = "RAY_AUTH_MODE=token ray job"
        where = f"--address {self.url} {self.id}"
        return f"follow it: {ray} logs --follow {where}\nstop it:   {ray} stop {where}"

    def _await_start(self) -> None:
        said = time.monotonic()
        while (info := self.info()).status == "PENDING":
            if time.monotonic() - said > STILL_PENDING_S:
                said = time.monotonic()
                logger.info("job %s has not started: %s", self.id, info.message)
            time.sleep(0.2)

    def _print_log(self, *, to_stderr: bool) -> str:
        """Print the log as it grows; after a lost connection go on where it broke."""
        log = ""
        while True:
            log = asyncio.run(self._print_from(log, to_stderr=to_stderr))
            if self.info().status.is_terminal():
                return log
            time.sleep(1.0)

    async def _print_from(self, printed: str, *, to_stderr: bool) -> str:
        import aiohttp

        log = ""
        with contextlib.suppress(RuntimeError, aiohttp.ClientError, OSError):  # the caller asks whether it has ended
            async for lines in self.client.tail_job_logs(self.id):
                log += lines
                if len(log) > len(printed):
                    click.echo(log[len(printed) :], nl=False, err=to_stderr)
                    printed = log
        return printed


def entrypoint(words: list[str]) -> str:
    """The shell command that runs a module of visnet with its arguments."""
    return shlex.join(["python", "-m", *words])


def jobs_address(given: str | None, environment: Mapping[str, str]) -> str:
    """The URL of the jobs API, without a slash at its end.

    Raises:
        ClusterError: `RAY_ADDRESS` names a cluster elsewhere, but not its jobs API.
    """
    chosen = given or environment.get("RAY_API_SERVER_ADDRESS")
    if not chosen:
        head = environment.get("RAY_ADDRESS") or ""
        host = head.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
        is_url = head.startswith(("http://", "https://"))
        if not is_url and host and host not in _LOOPBACK:
            raise ClusterError(
                f"RAY_ADDRESS={head} is where drivers join; a job goes to the dashboard (port 8265 unless changed): "
                "pass --address http://HOST:8265 or set RAY_API_SERVER_ADDRESS"
            )
        chosen = head if is_url else DEFAULT_ADDRESS
    return (chosen if "://" in chosen else f"http://{chosen}").rstrip("/")


def store_for_job(location: str, on_this_machine: Callable[[], bool]) -> str:
    """The store as a job must name it: an absolute path or a URL.

    Raises:
        SettingsError: it is relative to a folder here, and the cluster is not (only) this machine.
    """
    if "://" in location or location.startswith(("/", "~")):
        return location
    if on_this_machine():
        return str(Path(location).absolute())
    raise SettingsError(
        f"the store {location!r} is a folder of this machine, and the job runs on others, in a temporary copy of this "
        "checkout: pass --store with a URL (s3://…) or an absolute path that every node reaches, or set "
        "metadata.visnet.store so in cluster.yaml"
    )


def cluster_file_option(path: Path | None, on_this_machine: Callable[[], bool]) -> list[str]:
    """What makes the job read the same cluster file, of which it has a copy.

    Raises:
        SettingsError: the file is not in the checkout, so a job elsewhere would not have it.
    """
    if path is None or path.resolve() == _ROOT / "cluster.yaml":
        return []
    if not path.resolve().is_relative_to(_ROOT):
        if on_this_machine():
            return ["--cluster-file", str(path.resolve())]
        raise SettingsError(
            f"the cluster file {path} is outside of {_ROOT}, which is all that a job gets: put it there"
        )
    return ["--cluster-file", str(path.resolve().relative_to(_ROOT))]


def hosts(url: str) -> list[str]:
    """The host names of the cluster's live nodes.

    Raises:
        ClusterError: nothing answers at `url`, it is no Ray dashboard, or it refuses us; the text says what to do.
    """
    import httpx

    try:
        answer = httpx.get(
            f"{url}/nodes", params={"view": "hostNameList"}, headers=auth_headers(), timeout=ANSWER_TIMEOUT_S
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClusterError(
            f"no Ray jobs API answers at {url} ({str(error) or type(error).__name__}). Is the cluster up, and is that "
            "its dashboard's address (port 8265 unless changed)? `ray dashboard cluster.yaml` opens a remote one at "
            f"{DEFAULT_ADDRESS}; without a cluster, run the command without `submit`: it starts its own"
        ) from None
    if answer.status_code in (401, 403):
        raise ClusterError(f"the cluster at {url} {_refusal(bool(auth_headers()))}")
    try:
        names: list[str] = answer.json()["data"]["hostNameList"]
    except (ValueError, KeyError, TypeError):
        raise ClusterError(f"what answers at {url} is no Ray dashboard (HTTP {answer.status_code})") from None
    return names


def one_machine(url: str, names: list[str]) -> bool:
    """Whether the cluster at `url` is all on this machine; a loopback address alone may be a tunnel's end."""
    return _host(url) in _LOOPBACK and set(names) == {socket.gethostname()}


def last_json(log: str) -> Any:
    """The last line of a log that is a JSON object: what a command with --json reports. None if there is none."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                return json.loads(line)
    return None


def _refusal(sent_token: bool) -> str:
    if sent_token:
        return "refuses our token: copy its ~/.ray/auth_token here, or set RAY_AUTH_TOKEN"
    return "wants a token: unset RAY_AUTH_MODE, and set RAY_AUTH_TOKEN or copy its ~/.ray/auth_token here"


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


@contextlib.contextmanager
def _environment(url: str) -> Iterator[None]:
    """Ray's client puts these variables before the address it is given, and sends loopback through a proxy."""
    values = {"RAY_API_SERVER_ADDRESS": url}
    if _host(url) in _LOOPBACK:
        values["NO_PROXY"] = values["no_proxy"] = ",".join(
            part for part in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), *_LOOPBACK) if part
        )
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
