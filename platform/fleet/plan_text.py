"""A plan as text for people."""

from __future__ import annotations

from collections.abc import Sequence

from visnet.platform.fleet.machines import GB, GIB, Machine
from visnet.platform.fleet.plan import Plan
from visnet.platform.fleet.plan_fit import Gap
from visnet.platform.fleet.rates import Basis, Rate

Row = tuple[str, str, str]


def plan_text(plan: Plan, missing: Sequence[Gap], yaml: str) -> str:
    """The demand, the parts, the nodes, what bounds them, what they rest on, and what the cluster file would say."""
    blocks = [_asked(plan), _columns(_parts(plan)), _columns(_nodes(plan)), _bounds(plan)]
    if plan.cost is not None:
        blocks.append(_columns(_costs(plan)))
    blocks += [_basis(plan), _fit(missing, yaml)]
    return "\n\n".join(blocks)


def _asked(plan: Plan) -> str:
    asked = plan.demand
    written = f", {_short(asked.upserts_per_s)} written/s" if asked.upserts_per_s else ""
    found = f" ({asked.detector_share:.0%} with the detector)" if asked.detector_share else ""
    return (
        f"{asked.images:,} images x {asked.dimension}; {_short(asked.queries_per_s)} queries/s: "
        f"{_short(asked.photos_per_s)} photos{found}, {_short(asked.products_per_s)} products, "
        f"{_short(asked.recommends_per_s)} precomputed{written};\n"
        f"embedded anew within {asked.refresh_hours:g} h; at most {asked.utilisation:.0%} busy, "
        f"a search within {1000 * asked.latency_s:,.0f} ms"
    )


def _parts(plan: Plan) -> list[Row]:
    shards, embedder, ingress, work = plan.serve.shards, plan.serve.embedder, plan.serve.ingress, plan.work
    where = "a card" if plan.serve.machine.cards else "memory"
    vectors = f"{_short(shards.vector_bytes / GB)} GB of {where}"
    batch = shards.queries_per_s / shards.copies * shards.one_pass.seconds
    recommended = [("recommendations", f"{_short(work.recommend_core_hours)} core hours", "")]
    return [
        ("part", "what", "bounded by"),
        ("shards", f"{shards.shards:,} of {shards.rows:,} rows, {vectors}", shards.shards_bound),
        ("- copies", f"{shards.copies:,} of each, {_share(shards.gpus, shards.cpus)} each", shards.copies_bound),
        ("- a pass", f"{1000 * shards.one_pass.seconds:,.0f} ms for {batch:.0f} queries", shards.one_pass.bound),
        ("- all copies", f"{shards.queries_per_s:,.0f} searches/s", ""),
        ("embedder", f"{embedder.replicas:,} replicas, {embedder.per_s:,.1f} photos/s each", embedder.bound),
        ("ingress", f"{ingress.replicas:,} replicas, {ingress.per_s:,.0f} requests/s each", ingress.bound),
        ("catalogue pass", f"{work.photos_per_node_s:,.0f} photos/s a node, {_short(work.embed_hours)} h", work.bound),
        ("index build", f"{_short(work.index_core_hours)} core hours", ""),
        *(recommended if work.recommend_core_hours else []),
        ("the pass's driver", f"{_short(work.driver_bytes / GIB)} GiB", ""),
        ("store, a version", f"{_short(plan.storage_bytes / GB)} GB, photos aside", ""),
    ]


def _share(gpus: float, cpus: int) -> str:
    of_cpus = f"{cpus} CPU{'s' if cpus > 1 else ''}"
    return f"{gpus:g} GPU and {of_cpus}" if gpus else of_cpus


def _nodes(plan: Plan) -> list[Row]:
    serve, work = plan.serve, plan.work
    switching = f"{serve.most_nodes:,} while a release is switched" if serve.most_nodes > serve.nodes else ""
    return [
        ("pool", "nodes", ""),
        ("serve", f"{serve.nodes:,} x {_machine(serve.machine)}", switching),
        ("work", f"{work.nodes:,} x {_machine(work.machine)}", f"{_short(work.node_hours)} node hours a refresh"),
    ]


def _machine(machine: Machine) -> str:
    cards = f", {machine.cards} x {machine.card.name}" if machine.card is not None else ""
    return f"{machine.type_name} ({machine.cpus} CPUs, {machine.memory_bytes / GIB:.0f} GiB{cards})"


def _bounds(plan: Plan) -> str:
    alone = ", ".join(f"{name} {count:,}" for name, count in plan.serve.alone.items())
    return f"what binds: {plan.serve.bound} (nodes that each part would need by itself: {alone})"


def _costs(plan: Plan) -> list[Row]:
    assert plan.cost is not None
    parts = {"serve": plan.cost.serve, "head": plan.cost.head, "work": plan.cost.work, "storage": plan.cost.storage}
    rows = [("cost", "$ a month", "by the prices given")]
    rows += [(name, f"{dollars:,.0f}", "") for name, dollars in parts.items()]
    return [*rows, ("together", f"{plan.cost.total:,.0f}", f"{plan.cost.total / 730:,.2f} an hour")]


def _basis(plan: Plan) -> str:
    lines = []
    for basis in Basis:
        rates = [rate for rate in plan.rates if rate.basis is basis]
        if rates:
            lines.append(f"{basis.value}:")
            lines += [_rate(rate) for rate in rates]
    if any(rate.basis is Basis.ASSUMED for rate in plan.rates):
        lines.append("what rests on an assumption is no promise: measure, and give it with --rate NAME=VALUE")
    return "\n".join(lines)


def _rate(rate: Rate) -> str:
    source = f" [{rate.source.rpartition('/')[2]}]" if rate.source else ""
    return f"  {rate.name} = {_short(rate.value)} {rate.unit}: {rate.how}{source}"


def _fit(missing: Sequence[Gap], yaml: str) -> str:
    if not missing:
        return "the cluster file allows it as it stands"
    rows = [("the cluster file would have to change", "now", "needed")]
    rows += [(gap.key, str(gap.now), str(gap.needed)) for gap in missing]
    return f"{_columns(rows)}\n\n{yaml.rstrip()}"


def _columns(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in rows)


def _short(number: float) -> str:
    """Three digits that count."""
    if number >= 1e7:
        return f"{number:.3g}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
