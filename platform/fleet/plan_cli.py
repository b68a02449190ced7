"""`visnet cluster plan`: how many machines a catalogue and its traffic take."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import click

from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import SettingsError
from visnet.platform.fleet.definition import ClusterDefinition, read_definition
from visnet.platform.fleet.demand import Demand
from visnet.platform.fleet.plan import HEAD, STORAGE, Plan, make_plan
from visnet.platform.fleet.plan_fit import Gap, gaps, snippet
from visnet.platform.fleet.plan_text import plan_text
from visnet.platform.fleet.rates import RATES, Rates

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Demand)}


def pairs(_context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """NAME=NUMBER, as often as given."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise click.BadParameter(f"expected {parameter.metavar}, got {text!r}")
    return found


def _option(name: str, metavar: str, help: str, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option of `Demand` with its default."""
    field = name.lstrip("-").replace("-", "_")
    return click.option(name, field, metavar=metavar, default=DEFAULTS[field], show_default=True, help=help, **more)


def demand_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the fields of `Demand`."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option("--images", type=int, required=True, metavar="N", help="Images of the catalogue."),
        click.option("--queries-per-s", type=float, required=True, metavar="N", help="Of all kinds, at the peak."),
        _option("--dimension", "N", "Of a vector.", type=int),
        _option("--photo-share", "0..1", "Of the queries: photos, for the embedder.", type=float),
        _option("--recommend-share", "0..1", "Of the queries: precomputed, no search.", type=float),
        _option("--detector-share", "0..1", "Of the photos: the item is found first.", type=float),
        _option("--searched-share", "0..1", "Of the rows: filtered by category, a search passes fewer.", type=float),
        _option("--upserts-per-s", "N", "Products written while it serves.", type=float),
        _option("--fold-hours", "H", "Between two index builds.", type=float),
        _option("--refresh-hours", "H", "To embed every picture anew.", type=float),
        _option("--refreshes-per-month", "N", "How often that is done.", type=float),
        _option("--recommend-category-share", "0..1", "Products compared with each; 0: none.", type=float),
        click.option("--replicas", type=int, metavar="N", help="Copies of a shard, at least.  [default: the file's]"),
        _option("--latency-s", "S", "A search and the wait for the one before, at most.", type=float),
        _option("--utilisation", "0..1", "How busy the parts may be at the peak.", type=float),
    ]
    return functools.reduce(lambda made, option: option(made), reversed(options), function)


@click.command()
@demand_options
@click.option("--serve-on", metavar="TYPE", help="Type of node to serve on.  [default: the first of pool serve]")
@click.option("--work-on", metavar="TYPE", help="Type of node to embed on.  [default: the first of pool work]")
@click.option(
    "--switch",
    type=click.Choice(["beside", "more-nodes"]),
    help="Where a new release is loaded: beside the old, in half of a card or machine each, or on nodes of its own "
    "meanwhile.  [default: beside on GPUs, more-nodes on CPUs]",
)
@click.option("--rate", "rates", multiple=True, callback=pairs, metavar="NAME=VALUE", help="A rate you measured.")
@click.option("--list-rates", is_flag=True, is_eager=True, expose_value=False, callback=lambda *given: _list(*given),
              help="What plans are made from, with the sources, and stop.")  # fmt: skip
@click.option(
    "--price",
    "prices",
    multiple=True,
    callback=pairs,
    metavar="TYPE=DOLLARS",
    help=f"An hour of a node type or of the {HEAD}; {STORAGE}: a GB and month. There are no defaults: without a price "
    "of each, no cost is shown.",
)
@shared_options
def plan(
    invocation: Invocation,
    serve_on: str | None,
    work_on: str | None,
    switch: Any,
    rates: dict[str, float],
    prices: dict[str, float],
    replicas: int | None,
    **options: Any,
) -> None:
    """How many machines of cluster.yaml a catalogue and its traffic take, and what bounds them.

    \b
    Fifty million products at 2,000 queries a second, on the file's own types:
      visnet cluster plan --images 50_000_000 --queries-per-s 2000
    The same with CPUs searching, and what it costs by your prices:
      visnet cluster plan --images 50_000_000 --queries-per-s 2000 --serve-on cpu
        --price cpu=0.77 --price gpu=0.98 --price head=0.38 --price storage=0.023

    Rates are those measured in benchmarks/results, and assumptions where nothing was measured; the output says which
    are which. It ends with what the cluster file would have to say.
    """
    if invocation.cluster_file is None:
        raise SettingsError("there is no cluster file here; name one with --cluster-file")
    definition = read_definition(invocation.cluster_file)
    _check_prices(prices, definition)
    demand = Demand(**options, replicas=replicas or invocation.settings.serve.shard.replicas)
    made = make_plan(
        demand,
        definition,
        invocation.settings,
        Rates(rates),
        serve_on=serve_on,
        work_on=work_on,
        switch=switch,
        prices=prices,
    )
    missing, yaml = gaps(made, definition, invocation.settings), snippet(made, definition)
    invocation.report(_as_dict(made, missing, yaml), plan_text(made, missing, yaml))


def _check_prices(prices: dict[str, float], definition: ClusterDefinition) -> None:
    known = [HEAD, STORAGE, *(kind.name for kind in definition.workers)]
    for name, dollars in prices.items():
        if name not in known:
            raise SettingsError(f"--price {name}: expected one of {', '.join(known)}")
        if not dollars >= 0:
            raise SettingsError(f"--price {name}: expected dollars, got {dollars:g}")


def _as_dict(made: Plan, missing: list[Gap], yaml: str) -> dict[str, Any]:
    found = dataclasses.asdict(made)
    for rate in found["rates"]:
        rate["basis"] = rate["basis"].value
    serve = {**found["serve"], "bound": made.serve.bound}
    work = {**found["work"], "node_hours": made.work.node_hours}
    gaps_found = [dataclasses.asdict(gap) for gap in missing]
    return {**found, "serve": serve, "work": work, "fits": not missing, "gaps": gaps_found, "cluster_yaml": yaml}


def _list(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    for rate in RATES:
        source = f" [{rate.source}]" if rate.source else ""
        click.echo(f"{rate.name} = {rate.value:.4g} {rate.unit}, {rate.basis.value}: {rate.how}{source}")
    context.exit()
