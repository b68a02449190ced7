"""Changes to pictures: bounded, seeded, and none at strength 0."""

import pytest
import torch
from torch import Tensor

from visnet.train.augment import SHOP, STREET, Change, central, changed


def pictures(rows: int = 4, side: int = 24) -> Tensor:
    """A ramp of red from left to right and of green from top to bottom, without blue."""
    ramp = torch.linspace(0, 255, side)
    picture = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side)])
    return picture.to(torch.uint8).expand(rows, 3, side, side).contiguous()


def cut(change: Change, *, seed: int = 0, rows: int = 4) -> Tensor:
    return changed(pictures(rows), 16, change, generator=torch.Generator().manual_seed(seed))


def test_strength_0_is_the_encoders_own_central_cut() -> None:
    assert torch.equal(cut(STREET.scaled(0)), central(pictures(), 16))
    assert central(pictures(), 16)[0, 0, 0, 0] == pictures()[0, 0, 4, 4]


@pytest.mark.parametrize("change", [STREET, SHOP, STREET.scaled(3)])
def test_pictures_keep_their_kind(change: Change) -> None:
    found = cut(change)
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, (4, 3, 16, 16))
    assert len({tuple(picture.flatten().tolist()) for picture in found}) == 4  # every picture another change


def test_the_seed_decides() -> None:
    assert torch.equal(cut(STREET, seed=3), cut(STREET, seed=3))
    assert not torch.equal(cut(STREET, seed=3), cut(STREET, seed=4))


def test_a_mirrored_picture_runs_the_other_way() -> None:
    mirror = Change(area=1.0, stretch=0.0, turn_rad=0.0, light=0.0)
    rising = [bool(picture[0, 8, -1] > picture[0, 8, 0]) for picture in cut(mirror, rows=40)]
    assert 5 < sum(rising) < 35
    never = Change(area=1.0, stretch=0.0, turn_rad=0.0, light=0.0, mirror=False)
    whole = changed(pictures(), 24, never, generator=torch.Generator())
    assert torch.equal(whole, pictures())  # equal to strength 0 at full size


def test_the_cut_is_within_the_picture_and_as_small_as_allowed() -> None:
    found = cut(Change(area=0.25, stretch=0.0, turn_rad=0.0, light=0.0, mirror=False), rows=60)
    reds = found[:, 0].float()
    widths = (reds[:, 8, -1] - reds[:, 8, 0]) / 255  # share of the picture's width that the cut spans
    assert 0.4 < float(widths.min()) < 0.7
    assert float(widths.max()) <= 1.0
    assert float(reds[:, 8, 0].max()) > 40  # not always from the left border


def test_light_changes_brightness_up_to_its_share() -> None:
    grey = torch.full((200, 3, 8, 8), 100, dtype=torch.uint8)
    change = Change(area=1.0, stretch=0.0, turn_rad=0.0, light=0.4, mirror=False)
    means = changed(grey, 8, change, generator=torch.Generator().manual_seed(0)).float().mean(dim=(1, 2, 3))
    assert 50 < float(means.min()) < 75
    assert 125 < float(means.max()) < 155


def test_street_changes_more_than_shop() -> None:
    plain = central(pictures(64), 16).float()
    difference = {
        name: (cut(change, rows=64).float() - plain).abs().mean()
        for name, change in (("street", STREET), ("shop", SHOP))
    }
    assert difference["street"] > difference["shop"] > 0
