"""A product comes in, is found at once, and goes: python docs/examples/write_and_find.py PICTURE [--url URL]

Needs a key that may write, in VISNET_API_KEY: visnet key create --name me --scope write
"""

from __future__ import annotations

import argparse
from pathlib import Path

from visnet.platform.client import Client, ProductWrite

PRODUCT = "example/write-and-find"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    asked = parser.parse_args()
    with Client(asked.url) as service:
        category = str(service.catalog().categories[0].value)
        written = service.put([ProductWrite(product_id=PRODUCT, category=category, pictures=[asked.picture])])
        waited_s = service.wait_until_found(written.sequence)
        print(f"on disk at {written.sequence} of the journal, in all shards {waited_s:.2f} s later")
        found = [result.product_id for result in service.search_photo(asked.picture, k=5, detect=False).results]
        print("found:", ", ".join(found))
        deleted = service.delete([PRODUCT])
        service.wait_until_found(deleted.sequence)
        left = [result.product_id for result in service.search_photo(asked.picture, k=5, detect=False).results]
        print("after it was deleted:", ", ".join(left))


if __name__ == "__main__":
    main()
