"""A service is backed up while products are written over HTTP; another one, from the backup, knows them all."""

import itertools
import threading
from pathlib import Path

import pytest

from tests.served_shop import make_release, product, served, shop_catalog, small
from visnet.platform.backup import make_backup, read_backup, restore
from visnet.platform.journal_place import JOURNAL
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

FIRST = 100
"""Number of the first product that is written; the catalogue's are below."""


def test_what_was_acknowledged_before_is_found_after(tmp_path: Path) -> None:
    store, kept, other = (Store(str(tmp_path / name)) for name in ("store", "kept", "other"))
    make_release(store, shop_catalog(store, 40), seed=1, shards=2, current=True)
    acknowledged: list[str] = []
    some, over = threading.Event(), threading.Event()
    with served(store, small()) as service, service.client() as client:

        def write() -> None:
            for number in itertools.count(FIRST):
                if over.is_set():
                    return
                made = product(number)
                client.put("/v1/products", json={"products": [made]}).raise_for_status()
                acknowledged.append(made["product_id"])
                if len(acknowledged) == 5:
                    some.set()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert some.wait(60)
            before = list(acknowledged)
            make_backup(store, kept, journal=Path(store.path(JOURNAL)))
        finally:
            over.set()
            writer.join()
    restore(kept, read_backup(kept), other, journal=Path(other.path(JOURNAL)))
    with served(other, small()) as service, service.client() as client:
        for name in before:
            found = client.post("/v1/search", json={"product_id": name, "k": 1})
            assert found.status_code == 200, found.text
        assert client.get("/v1/products/p0001").status_code == 200
