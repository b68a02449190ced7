"""`visnet search`: ask a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from visnet.platform.client import Client, ServiceError, UnreachableError
from visnet.platform.client.calls import Box
from visnet.platform.client.models import FoundItem, Result, SearchAnswer
from visnet.platform.command import Invocation, shared_options
from visnet.platform.errors import NotFoundError, VisnetError


@click.command()
@click.argument("image", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--product", metavar="ID", help="Search with this product instead of an image.")
@click.option("-k", type=int, default=10, show_default=True, help="Products wanted.")
@click.option("--category", multiple=True, help="Only this category; may be given several times.")
@click.option("--box", metavar="L,T,R,B", help="Only this part of the image: left,top,right,bottom as shares, 0..1.")
@click.option(
    "--detect/--no-detect", default=None, help="The items in the image, or all of it; default: the release's."
)
@click.option("--url", help="The service; default: host and port of the cluster file.")
@shared_options
def search(
    invocation: Invocation,
    image: Path | None,
    product: str | None,
    k: int,
    category: tuple[str, ...],
    box: str | None,
    detect: bool | None,
    url: str | None,
) -> None:
    """Find products that look like an IMAGE, like the items in it, or like a product, by asking a running service.

    Where searching needs a key, it is taken from VISNET_API_KEY.
    """
    if (image is None) == (product is None):
        raise click.UsageError("expected either an IMAGE or --product")
    if image is None and (box or detect):
        raise click.UsageError("--box and --detect are about an IMAGE")
    serve = invocation.settings.serve
    base = (url or f"http://{serve.host}:{serve.port}").rstrip("/")
    answer = _ask(base, image, product, k, category, _box(box) if box is not None else None, detect)
    lines = [line for item in answer.items for line in [_item(item), *_hits(item.results)]]
    lines = lines or _hits(answer.results)
    if answer.located is not None and answer.located.detail:
        lines.append(answer.located.detail)
    if answer.partial:
        lines.append(f"partial: {answer.shards.ok} of {answer.shards.total} shards answered")
    invocation.report(answer.model_dump(), "\n".join(lines) or "nothing found")


def _item(item: FoundItem) -> str:
    box = ",".join(f"{edge:.2f}" for edge in item.box)
    return f"{item.category or 'item'} at {box}, confidence {item.confidence:.2f}:"


def _hits(results: list[Result]) -> list[str]:
    return [f"{hit.score:.3f}  {hit.product_id}  {hit.category}" for hit in results]


def _box(text: str) -> Box:
    try:
        left, top, right, bottom = (float(edge) for edge in text.split(","))
    except ValueError:
        raise click.UsageError(f"--box: expected four numbers with commas between them, got {text!r}") from None
    return left, top, right, bottom


def _ask(
    base: str,
    image: Path | None,
    product: str | None,
    k: int,
    category: tuple[str, ...],
    box: Box | None,
    detect: bool | None,
) -> SearchAnswer:
    narrowed: dict[str, Any] | None = {"category": list(category)} if category else None
    try:
        with Client(base) as service:
            if image is not None:
                return service.search_photo(image, k=k, filter=narrowed, box=box, detect=detect)
            return service.search_product(str(product), k=k, filter=narrowed)
    except UnreachableError as error:
        raise VisnetError(f"no answer from {base} ({error}): is `visnet serve` running there?") from None
    except ServiceError as error:
        raise (NotFoundError if error.status == 404 else VisnetError)(str(error)) from None
