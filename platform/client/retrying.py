"""When a call is sent again, and how long after; one core for both clients, which only send and wait.

A service that scales, switches releases or loses a node answers some requests late, with "try again", or not at all;
whoever asks once more gets an answer. What may have been carried out is sent again only if that does no harm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from visnet.platform.client.calls import Call
from visnet.platform.client.failures import ServiceError, UnreachableError, failure_of, is_problem

A = TypeVar("A")

AGAIN = frozenset({429, 502, 503, 504})
"""Statuses that say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a call is tried."""

    tries: int = 5
    first_pause_s: float = 0.1
    """Doubled after each try, up to `longest_pause_s`; a random part of it is waited, so that not all come at once."""
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"expected tries >= 1, got {self.tries}")

    def pause_s(self, failed: int, after_s: float | None, chance: Callable[[], float] = random.random) -> float:
        """How long to wait after so many failed tries; as long as the service says, if it does."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2 ** (failed - 1))
        waited = longest * (0.5 + 0.5 * chance())
        return min(self.longest_pause_s, max(waited, after_s or 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What the core asks of a client besides sending: to wait."""

    seconds: float


Step = Call[Any] | Pause
Outcome = httpx.Response | httpx.TransportError | None
"""Of a sent call; None after a pause."""


def exchange(call: Call[A], patience: Patience) -> Generator[Step, Outcome, A]:
    """The steps from a call to its answer.

    Raises:
        ServiceError: the service refused it.
        UnreachableError: no answer came, however often it was tried.
    """
    for failed in range(1, patience.tries + 1):
        outcome = yield call
        assert outcome is not None
        if isinstance(outcome, httpx.Response) and outcome.is_success:
            return call.read(outcome)
        last = failed == patience.tries
        if last or not _may_try_again(call, outcome):
            raise _error(call, outcome, failed)
        yield Pause(seconds=patience.pause_s(failed, _retry_after(outcome)))
    raise AssertionError("the last try returns or raises")


def _may_try_again(call: Call[Any], outcome: httpx.Response | httpx.TransportError) -> bool:
    if isinstance(outcome, httpx.Response):
        unanswered = outcome.status_code == 500 and not is_problem(outcome)  # a proxy's own: its server just died
        if outcome.status_code in (429, 503) and is_problem(outcome):
            return True  # the service's own word: nothing was done
        return call.repeatable and (outcome.status_code in AGAIN or unanswered)
    return call.repeatable or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def _error(
    call: Call[Any], outcome: httpx.Response | httpx.TransportError, tries: int
) -> ServiceError | UnreachableError:
    if isinstance(outcome, httpx.Response):
        return failure_of(outcome)
    often = f" after {tries} tries" if tries > 1 else ""
    reason = str(outcome) or type(outcome).__name__
    return UnreachableError(f"{call.method} {call.path}: no answer{often}: {reason}")


def _retry_after(outcome: httpx.Response | httpx.TransportError) -> float | None:
    if not isinstance(outcome, httpx.Response):
        return None
    try:
        return max(0.0, float(outcome.headers.get("retry-after", "")))
    except ValueError:  # a date, or nothing
        return None
