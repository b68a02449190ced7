"""`visnet cluster render`: the cluster file as manifests for Kubernetes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.kuberay import Manifest, as_yaml, rendered_cluster, rendered_job, rendered_service
from visnet.platform.fleet.kuberay_target import Target
from visnet.platform.submit import ENTRYPOINTS, entrypoint

CLUSTER, SERVICE, JOB = "cluster", "service", "job"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="[-- COMMAND ARGS...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--kuberay", is_flag=True, help="For KubeRay 1.5.1 or newer; the only kind there is, so it is needed.")
@click.option("--what", type=click.Choice([CLUSTER, SERVICE, JOB]), default=CLUSTER, show_default=True)
@click.option("--image", help="The image made from platform/fleet/Dockerfile. Needed but for a job.")
@click.option("--name", help="Of the RayCluster or RayService.  [default: the file's cluster_name]")
@click.option("--namespace", default="default", show_default=True)
@click.option("--pool", help="Only the node types with this label, such as serve or work.  [default: all]")
@click.option("--store-claim", metavar="NAME", help="Mount this PersistentVolumeClaim (ReadWriteMany) as the store.")
@click.option("--journal", metavar="URL", help="postgresql://user@host/database, instead of the file's.")
@click.option("--journal-secret", metavar="NAME", help="Secret with the journal's password under `password`.")
@click.option(
    "--token-secret", metavar="NAME", help="Secret with Ray's token under `auth_token`; else KubeRay makes it."
)
@click.option("--service-account", metavar="NAME", help="Of all pods; what may reach the store and pull the image.")
@click.option("--by-instance-type", is_flag=True, help="Bind pods to machines of the file's instance types.")
@click.option("--out", metavar="DIR|-", default="-", show_default=True, help="Where to; - is standard output.")
@shared_options
def render(
    invocation: Invocation,
    words: tuple[str, ...],
    kuberay: bool,
    what: str,
    image: str | None,
    name: str | None,
    out: str,
    **options: Any,
) -> None:
    """Write the cluster file as manifests for Kubernetes: its node types, settings and start environment.

    cluster makes the machines; jobs run on them, and `-- serve` as a job starts the service there. service makes
    machines with the service on them, which KubeRay upgrades with a second cluster beside the first. Every change goes
    into cluster.yaml: render again and apply. No secret is written; those that must exist are named at the top.

    \b
    Examples:
      visnet cluster render --kuberay --image registry.example/visnet:1 --store s3://bucket/visnet | kubectl apply -f -
      visnet cluster render --kuberay --what service --pool serve --image registry.example/visnet:1 \\
        --store s3://bucket/visnet --journal postgresql://visnet@db/visnet --journal-secret visnet-journal
      visnet cluster render --kuberay --what job -- train --catalog shop | kubectl create -f -
    """
    if not kuberay:
        raise click.UsageError("say what for: --kuberay")
    if invocation.cluster_file is None:
        raise SettingsError("no cluster.yaml here or in a folder above: pass --cluster-file")
    definition = read_definition(invocation.cluster_file)
    store = _given_store()
    target = Target(image=image or "", name=name or definition.cluster_name, store=store, **options)
    if what == JOB:
        manifests = _job(target, words)
    else:
        if words:
            raise click.UsageError(f"unexpected {shlex.join(words)}: a command goes with --what job")
        if not image:
            raise click.UsageError("--image is needed: see platform/fleet/Dockerfile for how to make it")
        manifests = (rendered_cluster if what == CLUSTER else rendered_service)(definition, target)
    text = _text(manifests, _header(definition, target, what))
    if out == "-":
        click.echo(text, nl=False)
        return
    path = Path(out) / f"{target.name}-{words[0] if what == JOB else what}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    invocation.report({"file": str(path), "kinds": [each["kind"] for each in manifests]}, f"wrote {path}")


def _given_store() -> str | None:
    """`--store` if it was given: the settings hold the file's otherwise."""
    store = click.get_current_context().params.get("store")
    return store if isinstance(store, str) else None


def _job(target: Target, words: tuple[str, ...]) -> list[Manifest]:
    if not words or words[0] not in ENTRYPOINTS:
        raise click.UsageError(f"expected -- COMMAND ARGS, with COMMAND one of {', '.join(ENTRYPOINTS)}")
    command, *arguments = words
    return rendered_job(target, command, entrypoint([*ENTRYPOINTS[command], *arguments]))


def _header(definition: ClusterDefinition, target: Target, what: str) -> str:
    lines = [
        f"visnet on Kubernetes: the {what} of cluster.yaml ({definition.cluster_name}), for KubeRay 1.5.1 or newer.",
        "Made by `visnet cluster render`: change cluster.yaml and render again, not this.",
    ]
    if what == JOB:
        lines += ["kubectl create -f, not apply: every run is a job of its own."]
    else:
        secrets = {target.token_secret: "auth_token", target.journal_secret: "password"}
        for secret, key in secrets.items():
            if secret is not None:
                lines += [
                    f"Before it: kubectl -n {target.namespace} create secret generic {secret} --from-file={key}=FILE"
                ]
        if target.token_secret is None:
            lines += ["KubeRay makes Ray's token, in a Secret that is called as the RayCluster."]
        lines += ["/dev/shm is KubeRay's and as large as a pod's memory limit, of which it is a part."]
    return "".join(f"# {line}\n" for line in lines)


def _text(manifests: list[Manifest], header: str) -> str:
    return header + "---\n" + "---\n".join(as_yaml(each) for each in manifests)
