"""The answers about releases and about how the service stands; as `models`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from visnet.platform.client.models import Answer


class ReadyAnswer(Answer):
    """Whether the service can answer."""

    encoder: str
    detector: str | None
    catalog: str
    images: int = Field(description="Searched, over the shards that answered.")
    problem: str = Field(description="What hinders the controller or a switch of releases; empty if nothing does.")


class GateEntry(BaseModel):
    """A check that a release has to pass."""

    name: str
    passed: bool
    detail: str


class ReleaseEntry(BaseModel):
    """A release of the store."""

    release: str
    encoder: str
    detector: str | None
    detect_by_default: bool
    catalog: str
    created_at: str
    passed: bool = Field(description="All its gates.")
    gates: list[GateEntry]
    figures: dict[str, float] = Field(description="What its evaluation measured, such as recall@1; empty without one.")


class ReleasesAnswer(BaseModel):
    """The releases, oldest first, and which of them is served."""

    current: str | None = Field(description="The release that is to be served.")
    serving: str | None = Field(description="The release that is served.")
    previous: str | None = Field(description="The release that a rollback goes back to.")
    switching_to: str | None = Field(description="The release whose parts are being started, or that failed last.")
    failed: str = Field(description="Why that one failed; empty while it is under way.")
    preview: str | None = Field(description="The release beside the served one, for searches that name it.")
    preview_ready: bool = Field(description="Whether it answers.")
    preview_failed: str = Field(description="Why the last one could not be started; empty if nothing failed.")
    releases: list[ReleaseEntry]


class SwitchAnswer(BaseModel):
    """How a promotion, a rollback or a preview stands."""

    release: str
    state: Literal["serving", "preparing"]


class PreviewAnswer(BaseModel):
    """What is beside the served release."""

    preview: str | None


class PartEntry(BaseModel):
    """A deployment of the service."""

    name: str
    kind: Literal["ingress", "controller", "embedder", "shard"]
    shard: int | None
    release: str | None = Field(description="Whose part it is; the served one's, if it is that of several.")
    state: Literal["ready", "starting", "failed"]
    detail: str
    wanted: int | None = Field(description="Replicas; null where they follow the load.")
    replicas: dict[str, int] = Field(description="How many are in which state, in Ray Serve's words.")


class ShardEntry(BaseModel):
    """A shard of the served release, as one of its replicas says."""

    shard: int
    up: bool = Field(description="Whether it answered.")
    images: int | None
    products: int | None
    changed: int | None = Field(description="Images that the built index does not hold.")
    sequence: int | None = Field(description="How far it has applied the journal.")


class JournalEntry(BaseModel):
    """How the journal stands to what is served."""

    head: int = Field(description="The last entry that was written.")
    sequence: int = Field(description="The last entry that all shards which answered have applied.")
    lag: int = Field(description="Entries between these two.")
    depth: int = Field(description="Entries that the built index does not hold: visnet fold takes them in.")


class StatusAnswer(BaseModel):
    """How the service stands."""

    release: str
    problem: str = Field(description="What keeps the controller from its work; empty if nothing does.")
    switching_to: str | None
    failed: str
    preview: str | None
    parts: list[PartEntry]
    shards: list[ShardEntry]
    journal: JournalEntry | None = Field(description="Null if there is none: nothing can be written then.")
