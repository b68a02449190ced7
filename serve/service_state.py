"""What the controller tells the ingresses, and what is asked of it: small, typed, plain data."""

from __future__ import annotations

from dataclasses import dataclass

from visnet.platform import release as releases
from visnet.platform.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The release that is served, and the applications that serve it."""

    plan: str
    release: str
    embedder: str
    shards: tuple[str, ...]
    """In order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder that what is written has to be embedded with."""

    digest: str
    application: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """A switch of releases."""

    release: str
    failed: str
    """Why it failed; empty while it is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A release that is there beside the one that is served, for requests that name it."""

    release: str
    serving: Serving | None
    """None before all of its parts stand."""
    reached: bool = False
    """Whether every ingress can be asked for it."""
    failed: str = ""
    """Why it could not be started; it is none any more then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """How the service stands."""

    serving: Serving | None
    """None before the first release stands."""
    encoders: tuple[Encoder, ...]
    """Of the release that is served, and of those switched to or previewed, once their embedder stands."""
    moved: bool
    """Whether every ingress answers by what is served."""
    settled: bool
    """Whether what is served is what is wanted, or what was wanted besides was refused."""
    switch: Switch | None
    preview: Preview | None
    problem: str
    """What keeps the controller from its work; empty if nothing does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A release that is to become the current one when it stands."""

    release: str
    force: bool
    rollback: bool

    def carry_out(self, store: Store) -> None:
        """Make it the current one.

        Raises:
            VisnetError: it may not become it, or is not the one to go back to any more.
        """
        if not self.rollback:
            releases.promote(store, self.release, force=self.force)
        elif releases.previous_release(store) == self.release:
            releases.rollback(store)
