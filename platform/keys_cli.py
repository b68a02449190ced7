"""`visnet key`: make, list and revoke the API keys of the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.keys import SCOPES, Key, Scope, create_key, read_keys, revoke_key


@click.group()
def key() -> None:
    """Make, list and revoke API keys."""


@key.command()
@click.option("--name", required=True, help="Says whose it is.")
@click.option("--scope", required=True, type=click.Choice(SCOPES), help="Each includes those before it.")
@click.option("--expires-days", type=click.FloatRange(min=0, min_open=True), metavar="DAYS", help="Default: never.")
@shared_options
def create(invocation: Invocation, name: str, scope: Scope, expires_days: float | None) -> None:
    """Make a key and show it, for this one time."""
    expires_at = None if expires_days is None else datetime.now(UTC) + timedelta(days=expires_days)
    made = create_key(invocation.store, name=name, scope=scope, expires_at=expires_at)
    invocation.report(
        {**_shown(made.key), "key": made.presented},
        f"{made.presented}\nKeep it: it is not shown again. The service takes it as Authorization: Bearer KEY.",
    )


@key.command("list")
@shared_options
def list_(invocation: Invocation) -> None:
    """List the keys, oldest first, without their secrets."""
    keys = read_keys(invocation.store)
    lines = [
        f"{made.key_id}  {made.scope:5}  {made.created_at:%Y-%m-%d}  {_state(made):18}  {made.name}" for made in keys
    ]
    none = "no keys yet: visnet key create --name NAME --scope write"
    invocation.report({"keys": [_shown(made) for made in keys]}, "\n".join(lines) or none)


@key.command()
@click.argument("which", metavar="ID|NAME")
@shared_options
def revoke(invocation: Invocation, which: str) -> None:
    """Make a key worthless."""
    revoked = revoke_key(invocation.store, which)
    invocation.report(_shown(revoked), f"{revoked.key_id} ({revoked.name}) is revoked")


def _shown(made: Key) -> dict[str, Any]:
    times = {"created_at": made.created_at, "expires_at": made.expires_at, "revoked_at": made.revoked_at}
    return {
        "id": made.key_id,
        "name": made.name,
        "scope": made.scope,
        "valid": made.is_valid(datetime.now(UTC)),
        **{name: time and time.isoformat(timespec="seconds") for name, time in times.items()},
    }


def _state(made: Key) -> str:
    if made.revoked_at is not None:
        return f"revoked {made.revoked_at:%Y-%m-%d}"
    if made.expires_at is None:
        return "valid"
    return f"{'valid to' if made.is_valid(datetime.now(UTC)) else 'expired'} {made.expires_at:%Y-%m-%d}"
