"""What a cluster file can't know of the Kubernetes it is rendered for, and what that makes of visnet's settings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition
from visnet.platform.fleet.kuberay_pods import HTTP_PORT
from visnet.platform.settings_file import parse_settings

MAX_NAME = 30
"""KubeRay takes 47 characters; a job's name is its cluster's, its command's and five that Kubernetes makes up."""
STORE_FOLDER = "/srv/visnet"
"""Where a claim is mounted, if the store's setting says no absolute folder."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and as what to run a cluster file."""

    image: str
    namespace: str = "default"
    name: str
    """Of the RayCluster or RayService."""
    store: str | None = None
    """Instead of the file's."""
    store_claim: str | None = None
    """A PersistentVolumeClaim that all machines can write at once, for a store that is a folder."""
    journal: str | None = None
    """PostgreSQL URL instead of the file's, without a password."""
    journal_secret: str | None = None
    """Secret with the journal's password under the key `password`."""
    token_secret: str | None = None
    """Secret with Ray's token under the key `auth_token`; None for one that KubeRay makes."""
    service_account: str | None = None
    """Of all pods: what may read and write the store, and pull the image."""
    pool: str | None = None
    """Only the node types with this label `pool`; None for all."""
    by_instance_type: bool = False
    """Whether pods go to machines of the instance types that the file names."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > MAX_NAME:
            raise ValueError(
                f"name: expected at most {MAX_NAME} lowercase letters, digits and dashes, a letter first, got "
                f"{self.name!r}: pass --name"
            )
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace: expected lowercase letters, digits and dashes, got {self.namespace!r}")


def kubernetes_settings(definition: ClusterDefinition, target: Target) -> dict[str, Any]:
    """The file's `metadata.visnet` with what is another thing on Kubernetes.

    Raises:
        SettingsError: the store or the journal can't be reached by all pods, or a password stands in the file.
    """
    content = (definition.content.get("metadata") or {}).get("visnet") or {}
    serve = {**(content.get("serve") or {}), "host": "0.0.0.0", "port": HTTP_PORT}
    if target.journal is not None:
        serve["journal"] = target.journal
    settings: dict[str, Any] = {**content, "store": _store(content, target), "serve": serve}
    parse_settings(settings, source="the cluster file with these options")  # its errors name the key
    _check_store(settings["store"], target)
    _check_journal(serve.get("journal"), settings["store"])
    return settings


def _store(content: Mapping[str, Any], target: Target) -> str:
    named = target.store or str(content.get("store") or "")
    relative = "://" not in named and not named.startswith("/")
    return STORE_FOLDER if target.store_claim is not None and target.store is None and relative else named


def _check_store(store: str, target: Target) -> None:
    if target.store_claim is not None:
        if not store.startswith("/"):
            raise SettingsError(f"store: expected an absolute folder to mount the claim at, got {store!r}")
    elif "://" not in store or store.startswith("file://"):
        raise SettingsError(
            f"store: expected a URL that all pods reach, got {store!r}: pass --store s3://…, or --store-claim with a "
            "PersistentVolumeClaim to mount"
        )


def _check_journal(journal: str | None, store: str) -> None:
    if journal is None:
        if "://" not in store:
            raise SettingsError(
                "journal: expected a PostgreSQL URL: without one the journal is an SQLite file in the store, which "
                "pods on several machines can't share; pass --journal postgresql://user@host/database"
            )
        return
    if not journal.startswith(("postgresql://", "postgres://")):
        raise SettingsError(f"journal: expected postgresql://user@host/database, got {journal!r}")
    if urlsplit(journal).password is not None:
        raise SettingsError("journal: the URL holds a password: take it out, and pass --journal-secret NAME")
