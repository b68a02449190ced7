"""Releases: encoder, index and recommendations as one, promoted past gates and rolled back as one.

The alias `current` is one small file that is replaced in one piece and carries its own history.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.encoder import encoder_manifest
from visnet.platform.errors import GateError, NotFoundError
from visnet.platform.index import read_index
from visnet.platform.manifest import Manifest, digest_of, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.recommendations import RecommendationsManifest
from visnet.platform.store import Store

CURRENT = "aliases/current"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """One check that a release has to pass."""

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReleaseManifest(Manifest):
    """What is served together."""

    release: str
    encoder: str
    encoder_digest: str
    index: str
    recommendations: str
    catalog: str
    catalog_version: str
    evaluation: dict[str, Any]
    """The newest evaluation of the encoder when the release was made; empty if there was none."""
    gates: list[Gate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One line of the alias's history."""

    release: str
    at: str
    action: str
    """promote, promote --force, or rollback."""


def create_release(store: Store, *, index: str, recommendations: str, evaluation: dict[str, Any]) -> ReleaseManifest:
    """Tie the pieces and run the gates. The same pieces and evaluation give the same release.

    Args:
        index: names the encoder and the catalogue too.
        evaluation: see `ReleaseManifest.evaluation`.
    """
    built = read_index(store, index)
    encoder = encoder_manifest(store, built.encoder)
    similar = read_manifest(store, f"recommendations/{recommendations}", RecommendationsManifest)
    directory = embeddings_directory(built.encoder, built.catalog, built.catalog_version)
    embeddings = read_manifest(store, directory, EmbeddingsManifest)
    gates = [
        Gate(
            name="one encoder",
            passed=len({encoder.digest, built.encoder_digest, similar.encoder_digest, embeddings.encoder_digest}) == 1,
            detail=f"encoder {encoder.digest[:12]}, index {built.encoder_digest[:12]}, "
            f"recommendations {similar.encoder_digest[:12]}",
        ),
        Gate(
            name="one index",
            passed=similar.index == index,
            detail=f"the recommendations were computed on index {similar.index}",
        ),
        Gate(
            name="counts",
            passed=embeddings.images == embeddings.embedded + embeddings.quarantined
            and built.rows == embeddings.embedded
            and similar.products == built.products,
            detail=f"{embeddings.images} images = {embeddings.embedded} embedded + {embeddings.quarantined} "
            f"quarantined; {built.rows} rows indexed; "
            f"recommendations for {similar.products} of {built.products} products",
        ),
    ]
    release = f"r-{digest_of(index, recommendations, evaluation)}"
    if has_manifest(store, f"releases/{release}"):
        return read_release(store, release)
    manifest = ReleaseManifest(
        release=release,
        encoder=built.encoder,
        encoder_digest=encoder.digest,
        index=index,
        recommendations=recommendations,
        catalog=built.catalog,
        catalog_version=built.catalog_version,
        evaluation=evaluation,
        gates=gates,
    )
    write_manifest(store, f"releases/{release}", manifest)
    return manifest


def read_release(store: Store, release: str) -> ReleaseManifest:
    """The manifest of a release.

    Raises:
        NotFoundError: no such release; the text lists what there is.
    """
    if not has_manifest(store, f"releases/{release}"):
        known = ", ".join(finished(store, "releases")) or "none yet"
        raise NotFoundError(f"no release {release} in {store.location} (there is: {known})")
    return read_manifest(store, f"releases/{release}", ReleaseManifest)


def list_releases(store: Store) -> list[ReleaseManifest]:
    """All releases, oldest first."""
    manifests = [read_release(store, name) for name in finished(store, "releases")]
    return sorted(manifests, key=lambda manifest: manifest.created_at)


def promote(store: Store, release: str, *, tolerance: float = 0.02, force: bool = False) -> None:
    """Make a release the current one.

    Args:
        tolerance: how much worse than the current release's evaluation each shared recall may be.
        force: promote in spite of a failed gate; recorded in the alias's history.

    Raises:
        GateError: a gate failed and `force` is off.
    """
    manifest = read_release(store, release)
    failed = [gate for gate in (*manifest.gates, _not_worse(store, manifest, tolerance)) if not gate.passed]
    if failed and not force:
        reasons = "; ".join(f"{gate.name}: {gate.detail}" for gate in failed)
        raise GateError(f"release {release} did not pass ({reasons}). Promote it all the same with --force")
    _append(store, release, "promote --force" if failed else "promote")


def rollback(store: Store) -> str:
    """Make the release before the current one current again, and return its id.

    Raises:
        NotFoundError: there is no earlier release to go back to.
    """
    stack: list[str] = []
    for change in history(store):
        if change.action == "rollback":
            stack.pop()
        elif not stack or stack[-1] != change.release:
            stack.append(change.release)
    if len(stack) < 2:
        raise NotFoundError("there is no earlier release to roll back to")
    _append(store, stack[-2], "rollback")
    return stack[-2]


def current_release(store: Store) -> ReleaseManifest:
    """The release that is to be served.

    Raises:
        NotFoundError: none has been promoted yet.
    """
    changes = history(store)
    if not changes:
        raise NotFoundError(f"{store.location} has no current release: visnet release create, then promote it")
    return read_release(store, changes[-1].release)


def history(store: Store) -> list[Change]:
    """All changes of the current release, oldest first."""
    if not store.exists(CURRENT):
        return []
    return [Change(**change) for change in json.loads(store.read(CURRENT))["history"]]


def _append(store: Store, release: str, action: str) -> None:
    change = Change(release=release, at=datetime.now(UTC).isoformat(timespec="seconds"), action=action)
    changes = [dataclasses.asdict(known) for known in (*history(store), change)]
    store.write(CURRENT, json.dumps({"release": release, "history": changes}, indent=2).encode())


def _not_worse(store: Store, manifest: ReleaseManifest, tolerance: float) -> Gate:
    """Compare recalls with the current release, where both were measured on the same queries."""
    name = "not worse"
    if not history(store):
        return Gate(name=name, passed=True, detail="there is no current release to compare with")
    before, after = current_release(store).evaluation, manifest.evaluation
    if not before or before.get("queries_digest") != after.get("queries_digest"):
        return Gate(name=name, passed=True, detail="no evaluation on the same queries to compare with")
    now, then = after.get("recall_at_k", {}), before.get("recall_at_k", {})
    drops = {key: round(then[key] - now[key], 9) for key in then if key in now}
    if not drops:
        return Gate(name=name, passed=False, detail="its evaluation shares no recall with the current release's")
    worst = max(drops, key=lambda key: drops[key])
    return Gate(
        name=name,
        passed=drops[worst] <= tolerance,
        detail=f"recall@{worst} {now[worst]:.3f} against {then[worst]:.3f} "
        f"of the current release (tolerance {tolerance})",
    )
