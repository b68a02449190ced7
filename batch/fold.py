"""The fold from beginning to end: catalogue, embeddings, index, recommendations, release; then it is served.

A running service follows the alias: it starts the new release beside the old one, which answers and is written to all
the while, and applies to it the journal's entries that came after the fold had begun. Every step stands once it is
done, so a fold that was killed is run again.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Protocol

from visnet.batch.fold_vectors import write_vectors
from visnet.batch.recommend import RULES
from visnet.platform.catalog import Catalog, open_catalog
from visnet.platform.embeddings import EmbeddingsManifest
from visnet.platform.errors import StoreError
from visnet.platform.evaluation import newest_evaluation
from visnet.platform.fold import Fold, fold_catalog, fold_work, forget, open_fold
from visnet.platform.index import IndexManifest
from visnet.platform.journal import Journal, JournalGapError
from visnet.platform.manifest import read_manifest
from visnet.platform.recommendations import RecommendationsManifest, recommendations_directory
from visnet.platform.release import Localisation, ReleaseManifest, create_release, current_release, promote
from visnet.platform.settings import RecommendSettings, Settings
from visnet.platform.store import Store

logger = logging.getLogger(__name__)


class Steps(Protocol):
    """The passes between a catalogue and a release; each stands where it was done before."""

    def embed(self, catalog: Catalog, encoder: str, further: Sequence[str]) -> EmbeddingsManifest:
        """The vectors; `further` are directories of known ones."""

    def build_index(self, catalog: Catalog, encoder: str) -> IndexManifest:
        """The index of the vectors."""

    def recommend(self, index: IndexManifest, like: RecommendationsManifest) -> RecommendationsManifest:
        """Every product's recommendations, by the rules of others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folded:
    """What came of it."""

    fold: Fold
    catalog: Catalog
    embeddings: EmbeddingsManifest
    release: ReleaseManifest
    promoted: bool
    """Now; False also if it was the current release already."""


def nothing_new(store: Store, name: str, journal: Journal) -> ReleaseManifest | None:
    """The current release, if the newest version of the catalogue is in it with all of the journal."""
    current, newest = current_release(store), open_catalog(store, name).manifest
    served = (current.catalog, current.catalog_version) == (name, newest.version)
    return current if served and journal.head() == newest.journal_sequence else None


def fold(store: Store, name: str, journal: Journal, steps: Steps, *, promoting: bool = True) -> Folded:
    """Make a release of a catalogue's newest version and all that the journal holds now.

    Args:
        name: the catalogue.
        promoting: make it the current release.

    Raises:
        NotFoundError: no such catalogue, or there is no current release, whose encoder and rules are to be used.
        JournalGapError: the journal does not hold all since the newest version of the catalogue.
        GateError: the new release did not pass its gates.
        StoreError: another release became current meanwhile; nothing was promoted.
    """
    with store.lock(fold_work(name)):  # two folds would each promote half of what was written
        before = current_release(store)
        begun = open_fold(store, name, journal)
        logger.info("folding %s entries of the journal into version %s", f"{begun.entries:,}", begun.base_version)
        catalog = fold_catalog(store, begun, journal)
        embeddings = steps.embed(catalog, before.encoder, _vectors(store, begun, journal, before.encoder))
        index = steps.build_index(catalog, before.encoder)
        rules = recommendations_directory(before.recommendations)
        recommendations = steps.recommend(index, read_manifest(store, rules, RecommendationsManifest))
        release = create_release(
            store,
            index=index.index,
            recommendations=recommendations.recommendations,
            evaluation=newest_evaluation(store, index.index),
            localisation=_localisation(before),
        )
        forget(store, name)
        promoted = promoting and _promote(store, release, before)
    return Folded(fold=begun, catalog=catalog, embeddings=embeddings, release=release, promoted=promoted)


def _localisation(before: ReleaseManifest) -> Localisation | None:
    """The same detector as before."""
    if before.detector is None:
        return None
    return Localisation(detector=before.detector, measured=before.localisation, by_default=before.detect_by_default)


def _vectors(store: Store, begun: Fold, journal: Journal, encoder: str) -> list[str]:
    if not begun.entries:
        return []
    try:
        return [write_vectors(store, begun, journal, encoder)]
    except JournalGapError:  # the catalogue was written and then trimmed from the journal: its pass may have ended too
        return []


def _promote(store: Store, release: ReleaseManifest, before: ReleaseManifest) -> bool:
    """Promote the release, unless what it is made after is no longer the current one."""
    now = current_release(store)
    if now.release == release.release:
        return False
    if now.release != before.release:
        raise StoreError(
            f"release {now.release} became current while the journal was folded for {before.release}, so "
            f"{release.release} was not promoted: run visnet fold again, or promote it all the same"
        )
    promote(store, release.release)
    return True


def rules_like(settings: RecommendSettings, made: RecommendationsManifest) -> RecommendSettings:
    """The settings with the rules, and the number of neighbours, of some recommendations."""
    rules = {name: made.rules[name] for name in RULES if name in made.rules}
    if rules.get("price_column") is None:  # it had no effect
        rules.pop("price_column", None)
    return dataclasses.replace(settings, k=made.k, **rules)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnRay:
    """The steps on the connected cluster, as the commands of their own do them."""

    store: Store
    settings: Settings
    """Those of the passes, cut to the cluster."""

    def embed(self, catalog: Catalog, encoder: str, further: Sequence[str]) -> EmbeddingsManifest:
        from visnet.batch.embed import embed

        return embed(self.store, catalog, encoder, self.settings.embed, further=further)[0]

    def build_index(self, catalog: Catalog, encoder: str) -> IndexManifest:
        from visnet.batch.index import build_index

        return build_index(self.store, catalog, encoder, self.settings.index)[0]

    def recommend(self, index: IndexManifest, like: RecommendationsManifest) -> RecommendationsManifest:
        from visnet.batch.recommend import recommend

        return recommend(self.store, index.index, rules_like(self.settings.recommend, like))[0]
