"""Many searches at once, from one event loop: python docs/examples/many_at_once.py [--url URL] [--searches N]

Searches that come at the same time are answered as a batch, so that many cost little more than one.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from visnet.platform.client import AsyncClient

AT_ONCE = 32


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--searches", type=int, default=200)
    asked = parser.parse_args()
    async with AsyncClient(asked.url) as service:
        products = [product.product_id for product in (await service.sample(50)).results]
        slots = asyncio.Semaphore(AT_ONCE)

        async def search(product_id: str) -> int:
            async with slots:
                return len((await service.search_product(product_id, k=10)).results)

        started = time.perf_counter()
        found = await asyncio.gather(*[search(products[n % len(products)]) for n in range(asked.searches)])
        seconds = time.perf_counter() - started
    print(f"{len(found)} searches, {sum(found)} products, {len(found) / seconds:.0f} searches/s")


if __name__ == "__main__":
    asyncio.run(main())
