"""Two releases asked the same: python docs/examples/compare_releases.py RELEASE [--url URL] [--queries N]

Puts RELEASE beside the one that is served, asks both for products like some products drawn at random, prints how much
they agree, and lets it go. Needs an admin's key in VISNET_API_KEY: visnet key create --name me --scope admin
"""

from __future__ import annotations

import argparse

from visnet.platform.client import Client

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--queries", type=int, default=50)
    asked = parser.parse_args()
    with Client(asked.url) as service:
        service.preview(asked.release)
        try:
            shared, same_first, queries = compare(service, asked.release, asked.queries)
        finally:
            service.end_preview()
    print(f"{queries} products: {shared:.2f} of {K} results in both, the same first one for {same_first:.0%}")


def compare(service: Client, release: str, queries: int) -> tuple[float, float, int]:
    """Results that both have on average, the share of queries with the same first one, and how many were asked."""
    products = [product.product_id for product in service.sample(queries).results]
    shared = same_first = 0
    for product in products:
        served, other = (
            [result.product_id for result in service.search_product(product, k=K, release=one).results]
            for one in (None, release)
        )
        shared += len(set(served) & set(other))
        same_first += served[:1] == other[:1]
    return shared / len(products), same_first / len(products), len(products)


if __name__ == "__main__":
    main()
