"""`visnet search`: ask a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import httpx

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
    """Find products that look like an IMAGE, like the items in it, or like a product, by asking a running service."""
    if (image is None) == (product is None):
        raise click.UsageError("expected either an IMAGE or --product")
    if image is None and (box or detect):
        raise click.UsageError("--box and --detect are about an IMAGE")
    serve = invocation.settings.serve
    base = (url or f"http://{serve.host}:{serve.port}").rstrip("/")
    further = {"box": box} if box is not None else {}
    if detect is not None:
        further["detect"] = str(detect).lower()
    answer = _ask(base, image, product, k, category, further)
    lines = [line for item in answer["items"] for line in [_item(item), *_hits(item["results"])]]
    lines = lines or _hits(answer["results"])
    if answer["located"] and answer["located"]["detail"]:
        lines.append(answer["located"]["detail"])
    if answer["partial"]:
        lines.append(f"partial: {answer['shards']['ok']} of {answer['shards']['total']} shards answered")
    invocation.report(answer, "\n".join(lines) or "nothing found")


def _item(item: dict[str, Any]) -> str:
    box = ",".join(f"{edge:.2f}" for edge in item["box"])
    return f"{item['category'] or 'item'} at {box}, confidence {item['confidence']:.2f}:"


def _hits(results: list[dict[str, Any]]) -> list[str]:
    return [f"{hit['score']:.3f}  {hit['product_id']}  {hit['category']}" for hit in results]


def _ask(
    base: str,
    image: Path | None,
    product: str | None,
    k: int,
    category: tuple[str, ...],
    further: dict[str, str],
) -> dict[str, Any]:
    narrowed: dict[str, Any] = {"category": list(category)} if category else {}
    try:
        if image is not None:
            files = {"image": (image.name, image.read_bytes())}
            response = httpx.post(f"{base}/v1/search", data={"k": k, **narrowed, **further}, files=files, timeout=30)
        else:
            body = {"product_id": product, "k": k, "filter": narrowed}
            response = httpx.post(f"{base}/v1/search", json=body, timeout=30)
    except httpx.TransportError as error:
        raise VisnetError(f"no answer from {base} ({error}): is `visnet serve` running there?") from None
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    detail = response.json().get("detail", "") if "json" in response.headers.get("content-type", "") else response.text
    raise (NotFoundError if response.status_code == 404 else VisnetError)(f"{response.status_code}: {detail}")
