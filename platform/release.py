"""Releases: encoder, index, recommendations and detector as one, promoted past gates and rolled back as one.

The alias `current` is one small file that is replaced in one piece and carries its own history.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from visnet.platform.detector_manifest import detector_manifest
from visnet.platform.embeddings import EmbeddingsManifest, embeddings_directory
from visnet.platform.encoder_manifest import encoder_manifest
from visnet.platform.errors import GateError, NotFoundError
from visnet.platform.gates import Gate, Pieces, check_not_worse, check_pieces
from visnet.platform.index import read_index
from visnet.platform.manifest import Manifest, digest_of, finished, has_manifest, read_manifest, write_manifest
from visnet.platform.recommendations import RecommendationsManifest, recommendations_directory
from visnet.platform.store import Store

CURRENT = "aliases/current"


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
    detector: str | None = None
    """Finds the items in photos; None: photos are searched for as a whole."""
    detector_digest: str = ""
    detect_by_default: bool = False
    """Whether an uploaded photo is searched for its items if the request does not say."""
    localisation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The newest measurement of what the detector does for searches with this encoder; empty if there was none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One line of the alias's history."""

    release: str
    at: str
    action: str
    """promote, promote --force, or rollback."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Localisation:
    """The detector of a release, and what is known of it."""

    detector: str
    measured: dict[str, Any]
    """See `ReleaseManifest.localisation`."""
    by_default: bool


def create_release(
    store: Store,
    *,
    index: str,
    recommendations: str,
    evaluation: dict[str, Any],
    localisation: Localisation | None = None,
) -> ReleaseManifest:
    """Tie the pieces and run the gates. The same pieces and evaluation give the same release; its gates run again if
    one had failed.

    Args:
        index: names the encoder and the catalogue too.
        evaluation: see `ReleaseManifest.evaluation`.
        localisation: the detector, if the release is to have one.
    """
    built = read_index(store, index)
    attempt = built.embeddings_attempt
    directory = embeddings_directory(built.encoder, built.catalog, built.catalog_version, attempt=attempt)
    pieces = Pieces(
        encoder=encoder_manifest(store, built.encoder),
        embeddings=read_manifest(store, directory, EmbeddingsManifest),
        index=built,
        recommendations=read_manifest(store, recommendations_directory(recommendations), RecommendationsManifest),
        detector=detector_manifest(store, localisation.detector) if localisation is not None else None,
    )
    located = [] if localisation is None else [dataclasses.asdict(localisation)]
    release = f"r-{digest_of(index, recommendations, evaluation, *located)}"
    if has_manifest(store, f"releases/{release}") and all(gate.passed for gate in read_release(store, release).gates):
        return read_release(store, release)
    manifest = ReleaseManifest(
        release=release,
        encoder=built.encoder,
        encoder_digest=pieces.encoder.digest,
        index=index,
        recommendations=recommendations,
        catalog=built.catalog,
        catalog_version=built.catalog_version,
        evaluation=evaluation,
        gates=check_pieces(store, pieces),
        **_located(localisation, pieces),
    )
    write_manifest(store, f"releases/{release}", manifest)
    return manifest


def _located(localisation: Localisation | None, pieces: Pieces) -> dict[str, Any]:
    if localisation is None or pieces.detector is None:
        return {}
    return {
        "detector": localisation.detector,
        "detector_digest": pieces.detector.digest,
        "detect_by_default": localisation.by_default,
        "localisation": localisation.measured,
    }


def read_release(store: Store, release: str) -> ReleaseManifest:
    """The manifest of a release.

    Raises:
        NotFoundError: no such release; the text lists what there is.
    """
    if not has_manifest(store, f"releases/{release}"):
        known = ", ".join(finished(store, "releases")) or "none yet"
        raise NotFoundError(f"no release {release} in {store.location} (there is: {known})")
    return read_manifest(store, f"releases/{release}", ReleaseManifest)


def figures(evaluation: dict[str, Any]) -> dict[str, float]:
    """What a release's evaluation measured, by the names people use; empty without one."""
    found = {f"recall@{k}": float(recall) for k, recall in evaluation.get("recall_at_k", {}).items()}
    precision = evaluation.get("category_precision_at_20")
    return found if precision is None else {**found, "category precision@20": float(precision)}


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
    with store.lock(CURRENT):
        failed = check_promotable(store, release, tolerance=tolerance, force=force)
        _append(store, release, "promote --force" if failed else "promote")


def check_promotable(store: Store, release: str, *, tolerance: float = 0.02, force: bool = False) -> list[Gate]:
    """Whether a release may become the current one; as `promote`, but nothing is changed.

    Returns:
        The gates that it did not pass, if `force` is on.

    Raises:
        GateError: a gate failed and `force` is off.
    """
    manifest = read_release(store, release)
    failed = [gate for gate in (*manifest.gates, _not_worse(store, manifest, tolerance)) if not gate.passed]
    if failed and not force:
        reasons = "; ".join(f"{gate.name}: {gate.detail}" for gate in failed)
        raise GateError(f"release {release} did not pass ({reasons}). Promote it all the same with --force")
    return failed


def rollback(store: Store) -> str:
    """Make the release before the current one current again, and return its id.

    Raises:
        NotFoundError: there is no earlier release to go back to.
    """
    with store.lock(CURRENT):
        release = previous_release(store)
        _append(store, release, "rollback")
        return release


def previous_release(store: Store) -> str:
    """The release that a rollback goes back to.

    Raises:
        NotFoundError: there is none.
    """
    stack: list[str] = []
    for change in history(store):
        if change.action == "rollback":
            stack.pop()
        elif not stack or stack[-1] != change.release:
            stack.append(change.release)
    if len(stack) < 2:
        raise NotFoundError("there is no earlier release to roll back to")
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
    """Whether a release's encoder is as good as the current one's."""
    if not history(store):
        return Gate(name="not worse", passed=True, detail="there is no current release to compare with")
    current = current_release(store)
    before = {**current.evaluation, "encoder": current.encoder}
    same = current.encoder_digest == manifest.encoder_digest
    return check_not_worse(before, manifest.evaluation, tolerance, same_encoder=same)
