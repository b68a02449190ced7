"""Products that may be listed twice: python docs/examples/find_duplicates.py [--url URL] [--products N] [--min-score S]

Looks at some products drawn at random and prints pairs that a shopper could not tell apart.
"""

from __future__ import annotations

import argparse

from visnet.platform.client import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--products", type=int, default=50)
    parser.add_argument("--min-score", type=float, default=0.97)
    asked = parser.parse_args()
    pairs = 0
    with Client(asked.url) as service:
        for product in service.sample(asked.products).results:
            for other in service.duplicates(product.product_id, min_score=asked.min_score).results:
                kind = "the same picture" if other.same_picture else f"{other.score:.3f}"
                print(f"{product.product_id}  {other.product_id}  {kind}")
                pairs += 1
    print(f"{pairs} pairs among the neighbours of {asked.products} products")


if __name__ == "__main__":
    main()
