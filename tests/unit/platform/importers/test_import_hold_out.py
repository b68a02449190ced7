"""Held-out products: all their photos in a split of their own, the same ones for the same seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from visnet.platform.catalog import Catalog
from visnet.platform.importers import Source, open_source
from visnet.platform.importers.hold_out import chosen, hold_out

Load = Callable[..., Catalog]
Put = Callable[[str, str | bytes], Path]


@pytest.fixture
def source(put: Put) -> Source:
    """8 products, each with a photo in train and one in test."""
    rows = [f"{split}{n},p{n},c,s{n},{split}" for n in range(8) for split in ("train", "test")]
    return open_source("pairs", str(put("p.csv", "photo,product_id,category,shop_image,split\n" + "\n".join(rows))))


def held(catalog: Catalog) -> list[str]:
    return sorted(catalog.photos(["product_id"], split="held-out")["product_id"].to_pylist())


def test_all_photos_of_a_share_of_the_products(source: Source, load: Load) -> None:
    catalog = load(hold_out(source, share=0.25, seed=0))
    assert catalog.manifest.photo_splits == {"held-out": 4, "test": 6, "train": 6}
    products = held(catalog)
    assert products[0] == products[1] != products[2] == products[3]
    rest = {*catalog.photos(split="train")["product_id"].to_pylist()}
    assert rest | set(products) == {f"p{n}" for n in range(8)}
    assert not rest & set(products)
    assert catalog.manifest.images == 8  # the shop is whole
    assert catalog.manifest.source == "pairs p.csv, 2 products held out (share 0.25, seed 0)"


def test_the_choice_is_the_seeds(source: Source) -> None:
    products = source.photo_products
    assert chosen(products, share=0.25, seed=0) == chosen(sorted(products), share=0.25, seed=0)
    assert len({frozenset(chosen(products, share=0.25, seed=seed)) for seed in range(10)}) > 1
    assert chosen(products, share=0.25, seed=3) < chosen(products, share=0.5, seed=3)


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.19, 2), (0.9, 7), (1, 8)])
def test_the_share_is_rounded_but_never_to_none(source: Source, share: float, count: int) -> None:
    assert len(chosen(source.photo_products, share=share, seed=0)) == count


def test_everything_can_be_held_out(source: Source, load: Load) -> None:
    assert load(hold_out(source, share=1, seed=0)).manifest.photo_splits == {"held-out": 16}


def test_share_and_seed_make_other_versions(source: Source) -> None:
    versions = [hold_out(source, share=share, seed=seed).version for share, seed in ((0.25, 0), (0.5, 0), (0.25, 1))]
    assert len({source.version, *versions}) == 4
    assert hold_out(source, share=0, seed=5) is source


def test_what_can_not_be_held_out_is_refused(source: Source) -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"expected a share of 0..1 of the products to hold out, got "):
            hold_out(source, share=share, seed=0)
    with pytest.raises(ValueError, match=r"pairs p.csv has no photos: there is nothing to hold out"):
        hold_out(replace(source, photos=None), share=0.5, seed=0)
