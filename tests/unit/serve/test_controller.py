"""The controller against a pretended cluster: switches, refusals, promotions, and a controller that starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from visnet.platform import release as releases
from visnet.platform.errors import GateError, NotFoundError
from visnet.platform.placement import GIB, Node, Part, Plan, Running, State
from visnet.platform.pools import ALL
from visnet.platform.settings import ServeSettings, ShardSettings
from visnet.platform.store import Store
from visnet.serve import controller as module
from visnet.serve.controller import Controller


class Cluster:
    """Applications that start when they are let."""

    def __init__(self) -> None:
        self.running: dict[str, Running] = {}
        self.free = [Node(cpus=8, gpus=0, memory_bytes=8 * GIB)]
        self.lets_start = True
        self.fails: set[str] = set()
        self.current = "r-1"
        self.shards = {"r-1": 1, "r-2": 2, "r-3": 1}
        self.previous = ["r-0"]
        self.ended: list[str] = []

    def applications(self) -> dict[str, Running]:
        return dict(self.running)

    def start(self, parts: list[str]) -> None:
        for name in parts:
            state = State.FAILED if name in self.fails else State.READY if self.lets_start else State.STARTING
            self.running[name] = Running(state=state, replicas=1, reason="out of memory" if name in self.fails else "")

    def end(self, names: tuple[str, ...]) -> None:
        self.ended += names
        for name in names:
            del self.running[name]

    def resize(self, name: str, replicas: int) -> None:
        self.running[name] = Running(state=State.READY, replicas=replicas)

    def plan(self, release: str, replicas: int) -> Plan:
        if release not in self.shards:
            raise NotFoundError(f"no release {release}")
        parts = [Part(name="embedder-e", replicas=1, cpus=1, gpus=0, memory_bytes=GIB, resizable=False)]
        for number in range(self.shards[release]):
            name = f"shard-{number}-{release}"
            parts.append(Part(name=name, replicas=replicas, cpus=1, gpus=0, memory_bytes=GIB))
        return Plan(name=f"plan-{release}", release=release, parts=tuple(parts))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    class Release:
        encoder_digest = "d"

        @property
        def release(self) -> str:
            return made.current

    def promote(_store: Store, release: str, **_: Any) -> None:
        made.previous.append(made.current)
        made.current = release

    def check(_store: Store, release: str, *, force: bool) -> None:
        if release == "r-3" and not force:
            raise GateError("r-3 did not pass")

    for name in ("applications", "end", "resize", "start"):
        monkeypatch.setattr(module, name, getattr(made, name))
    monkeypatch.setattr(module, "free", lambda _pool: made.free)
    monkeypatch.setattr(
        module, "plan_of", lambda _s, release, settings, _j: made.plan(release, settings.shard.replicas)
    )
    monkeypatch.setattr(module, "targets", lambda _s, _p, parts, _se, _j: [part.name for part in parts])
    monkeypatch.setattr(releases, "current_release", lambda _store: Release())
    monkeypatch.setattr(releases, "read_release", lambda _store, _release: Release())
    monkeypatch.setattr(releases, "check_promotable", check)
    monkeypatch.setattr(releases, "promote", promote)
    return made


def run(store: Store, script: Callable[[Controller], Awaitable[None]], **settings: Any) -> None:
    async def session() -> None:
        controller = Controller(store, ServeSettings(**settings), None, ALL)
        controller._look_after = lambda: None  # type: ignore[method-assign]  # looks when it is told to
        await script(controller)

    asyncio.run(session())


async def look(controller: Controller, times: int = 4) -> None:
    for _ in range(times):
        await controller._look()


async def on(controller: Controller, release: str, **busy: int) -> None:
    await controller.report("ingress", f"plan-{release}", {f"plan-{name}": count for name, count in busy.items()})


def serving(controller: Controller) -> str | None:
    state = controller._state()
    return state.serving.release if state.serving is not None else None


def test_the_current_release_is_started_and_served(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        cluster.lets_start = False
        await look(controller)
        state = controller._state()
        assert (state.serving, state.settled, state.encoders) == (None, False, ())
        cluster.start(["embedder-e", "shard-0-r-1"])
        cluster.running = {name: Running(state=State.READY, replicas=1) for name in cluster.running}
        await look(controller)
        state = controller._state()
        assert state.serving is not None
        assert state.serving.shards == ("shard-0-r-1",)
        assert state.settled
        assert [one.application for one in state.encoders] == ["embedder-e"]

    run(store, script)


def test_a_moved_alias_is_followed_and_the_old_parts_end_when_nobody_needs_them(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        await on(controller, "r-1")
        cluster.current = "r-2"
        await look(controller)
        assert serving(controller) == "r-2"
        assert cluster.ended == []
        await controller.report("ingress", "plan-r-2", {"plan-r-1": 1})
        await look(controller)
        assert cluster.ended == []
        await on(controller, "r-2")
        await look(controller)
        assert cluster.ended == ["shard-0-r-1"]

    run(store, script)


def test_a_promotion_moves_the_alias_only_when_the_parts_stand(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        cluster.lets_start = False
        assert await controller.promote("r-2") is None
        await look(controller)
        assert (cluster.current, serving(controller)) == ("r-1", "r-1")
        switch = controller._state().switch
        assert switch is not None
        assert (switch.release, switch.failed) == ("r-2", "")
        for name in ("shard-0-r-2", "shard-1-r-2"):
            cluster.running[name] = Running(state=State.READY, replicas=1)
        await look(controller)
        assert (cluster.current, serving(controller)) == ("r-2", "r-2")
        assert controller._state().switch is None

    run(store, script)


def test_a_promotion_that_fails_or_does_not_fit_leaves_everything_as_it_was(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        cluster.fails = {"shard-1-r-2"}
        await controller.promote("r-2")
        await look(controller)
        state = controller._state()
        assert state.switch is not None
        assert (state.switch.failed, state.settled) == ("out of memory", True)
        assert (cluster.current, serving(controller)) == ("r-1", "r-1")
        assert set(cluster.running) == {"embedder-e", "shard-0-r-1"}
        cluster.free = []
        await controller.promote("r-2")
        await look(controller)
        switch = controller._state().switch
        assert switch is not None
        assert "do not fit at once" in switch.failed
        cluster.free, cluster.fails = [Node(cpus=8, gpus=0, memory_bytes=8 * GIB)], set()
        await controller.promote("r-2")  # asked again, it is tried again
        await look(controller)
        assert serving(controller) == "r-2"

    run(store, script)


def test_gates_are_asked_first(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        assert await controller.promote("r-3") == (409, "r-3 did not pass")
        assert await controller.promote("r-9") == (404, "no release r-9")
        await look(controller)
        assert serving(controller) == "r-1"
        assert await controller.promote("r-3", force=True) is None
        await look(controller)
        assert serving(controller) == "r-3"

    run(store, script)


def test_a_promotion_of_what_serves_already_moves_the_alias(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        cluster.current = "r-2"
        cluster.free = []
        await look(controller)
        assert serving(controller) == "r-1"
        await controller.promote("r-1")
        await look(controller)
        assert (cluster.current, controller._promotion) == ("r-1", None)

    run(store, script)


def test_a_controller_that_starts_anew_goes_on_with_what_serves(store: Store, cluster: Cluster) -> None:
    async def first(controller: Controller) -> None:
        await look(controller)

    async def second(controller: Controller) -> None:
        assert serving(controller) == "r-1"
        await look(controller)
        await on(controller, "r-1")
        await look(controller)
        assert serving(controller) == "r-1"
        assert cluster.running["shard-0-r-1"].replicas == 3
        assert cluster.ended == []

    run(store, first)
    run(store, second, shard=ShardSettings(replicas=3))
    cluster.running.clear()  # the whole cluster died

    async def third(controller: Controller) -> None:
        assert serving(controller) is None
        await look(controller)
        assert serving(controller) == "r-1"

    run(store, third)


def test_ingresses_that_are_gone_do_not_hold_a_switch_up(
    store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        await controller.report("dead", "plan-r-1", {})
        cluster.current = "r-2"
        await look(controller)
        await controller.report("alive", "plan-r-2", {})
        await look(controller)
        assert cluster.ended == []
        controller._reports["dead"] = (controller._reports["dead"][0] - module.SILENT_S, controller._reports["dead"][1])
        await look(controller)
        assert cluster.ended == ["shard-0-r-1"]

    run(store, script)


def test_what_goes_wrong_is_said_and_looked_at_again(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        cluster.current = "r-9"
        looking = asyncio.create_task(controller._keep_looking())
        while not controller._state().problem:
            await asyncio.sleep(0.01)
        assert controller._state().problem == "no release r-9"
        cluster.current = "r-1"
        while serving(controller) is None:
            await asyncio.sleep(0.01)
        while controller._state().problem:
            await asyncio.sleep(0.01)
        looking.cancel()

    run(store, script)


def test_a_record_of_another_visnet_is_passed_over(store: Store, cluster: Cluster) -> None:
    store.write(module.SERVING, b'{"release": "r-1"}')

    async def script(controller: Controller) -> None:
        assert serving(controller) is None
        await look(controller)
        assert serving(controller) == "r-1"

    run(store, script)


def test_a_previewed_release_stands_beside_the_served_one_until_it_is_let_go(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        assert await controller.preview("r-2") == (409, "no release is served yet")
        await look(controller)
        await on(controller, "r-1", **{"r-1": 1})
        refused = await controller.preview("r-1")
        assert refused is not None
        assert "is served already" in refused[1]
        assert await controller.preview("nothing") == (404, "no release nothing")
        assert await controller.preview("r-2") is None
        preview = controller._state().preview
        assert preview is not None
        assert (preview.release, preview.serving) == ("r-2", None)
        await look(controller)
        preview = controller._state().preview
        assert preview is not None
        assert preview.serving is not None
        assert preview.serving.shards == ("shard-0-r-2", "shard-1-r-2")
        assert serving(controller) == "r-1"
        await on(controller, "r-1", **{"r-1": 0, "r-2": 0})
        await controller.end_preview()
        await look(controller)
        assert controller._state().preview is None
        assert not cluster.ended  # the ingress may still be asked for it
        await on(controller, "r-1", **{"r-1": 0})
        await look(controller)
        assert cluster.ended == ["shard-0-r-2", "shard-1-r-2"]

    run(store, script)


def test_a_preview_survives_the_controller_and_a_promotion_of_it_ends_it(store: Store, cluster: Cluster) -> None:
    async def before(controller: Controller) -> None:
        await look(controller)
        await controller.preview("r-2")
        await look(controller)

    async def after(controller: Controller) -> None:
        await look(controller)
        preview = controller._state().preview
        assert preview is not None
        assert preview.release == "r-2"
        await controller.promote("r-2")
        await look(controller)
        assert serving(controller) == "r-2"
        assert controller._state().preview is None

    run(store, before)
    run(store, after)


def test_a_preview_that_was_removed_while_the_controller_was_away_is_none_any_more(
    store: Store, cluster: Cluster
) -> None:
    async def before(controller: Controller) -> None:
        await look(controller)
        await controller.preview("r-2")
        await look(controller)

    async def after(controller: Controller) -> None:
        await look(controller)
        assert controller._state().preview is None
        assert serving(controller) == "r-1"

    run(store, before)
    del cluster.shards["r-2"]
    run(store, after)


def test_a_preview_that_fails_says_why_and_leaves_what_is_served(store: Store, cluster: Cluster) -> None:
    async def script(controller: Controller) -> None:
        await look(controller)
        cluster.fails = {"shard-1-r-2"}
        await controller.preview("r-2")
        await look(controller)
        state = controller._state()
        assert state.preview is not None
        assert (state.preview.release, state.preview.failed) == ("r-2", "out of memory")
        assert serving(controller) == "r-1"
        assert state.switch is None
        assert set(cluster.running) == {"embedder-e", "shard-0-r-1"}

    run(store, script)
