"""Products that look like a photo: python docs/examples/search_photo.py PHOTO [--url URL] [--category NAME ...]

What the photo shows is searched for item by item where the release can find items, and as a whole otherwise.
"""

from __future__ import annotations

import argparse

from visnet.platform.client import Client
from visnet.platform.client.models import Result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--category", action="append", help="only this category; may be given several times")
    asked = parser.parse_args()
    with Client(asked.url) as service:
        chance = service.catalog().chance
        narrowed = {"category": asked.category} if asked.category else None
        answer = service.search_photo(asked.photo, k=5, filter=narrowed)
    for item in answer.items:
        print(f"{item.category or 'an item'} at {item.box}:")
        show(item.results, chance)
    if not answer.items:
        show(answer.results, chance)


def show(results: list[Result], chance: float | None) -> None:
    for result in results:
        note = "" if chance is None or result.score > chance else "  (no more alike than chance)"
        print(f"  {result.score:.3f}  {result.product_id}  {result.category}{note}")


if __name__ == "__main__":
    main()
