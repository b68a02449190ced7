"""The scorers: which there are, that they see the same pixels, and that their vectors have exact inner products."""

import numpy as np
import pytest

from visnet.platform.encoder import Encoder
from visnet.platform.errors import NotFoundError
from visnet.platform.networks import trunk
from visnet.platform.settings import TripletSettings
from visnet.train.triplets.scorers import SCORERS, check_names, make_scorers, on_grid

SMALL = TripletSettings(image_size=64)


def test_all_scorers_see_the_same_squares_and_give_unit_vectors() -> None:
    scorers = make_scorers(SCORERS, SMALL)
    assert {scorer.recipe.preprocessing.crop for scorer in scorers.values()} == {64}
    assert {scorer.recipe.preprocessing.resize for scorer in scorers.values()} == {64}
    pixel_BHWC = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    for scorer in scorers.values():
        vector_BD = on_grid(scorer.encoder().encode_pixels(scorer.seen(pixel_BHWC)))
        assert np.linalg.norm(vector_BD.astype(float), axis=1) == pytest.approx(np.ones(3), abs=0.01)
    assert scorers["deep"].pretrained.startswith("efficientnet-lite0")
    assert scorers["deep"].encoder().digest() == scorers["deep"].digest


def test_color_sees_the_middle_only() -> None:
    color = make_scorers(["color"], SMALL)["color"]
    pixel_BHWC = np.zeros((2, 64, 64, 3), np.uint8)
    pixel_BHWC[1, :16], pixel_BHWC[1, :, 48:] = (255, 0, 0), (0, 0, 255)
    assert color.seen(pixel_BHWC).shape == (2, 32, 32, 3)
    one, other = color.encoder().encode_pixels(color.seen(pixel_BHWC))
    assert one @ other == pytest.approx(1)


@pytest.mark.parametrize("size", [32, 64, 96, 128, 224])
def test_texture_fits_every_size(size: int) -> None:
    texture = make_scorers(["texture"], TripletSettings(image_size=size))["texture"]
    assert texture.encoder().encode_pixels(np.zeros((1, size, size, 3), np.uint8)).shape[0] == 1


def test_unknown_repeated_and_no_scorers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown scorer 'shape': expected some of deep, color, texture"):
        check_names(["deep", "shape"])
    for wrong in ([], ["color", "color"]):
        with pytest.raises(ValueError, match="each once"):
            check_names(wrong)


def test_a_deep_scorer_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk, "load_pretrained", lambda *_: "none (no network)")
    with pytest.raises(NotFoundError, match=r"no network\); go without it, --scorers color,texture"):
        make_scorers(["deep"], SMALL)


def test_inner_products_on_the_grid_are_the_same_in_whatever_order() -> None:
    random = np.random.default_rng(1)
    vector_ND = random.normal(size=(50, 1280)) * random.exponential(size=1280)
    vector_ND = on_grid(vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True))
    exact = vector_ND.astype(np.float64) @ vector_ND.astype(np.float64).T
    single = vector_ND.astype(np.float32)
    shuffled = random.permutation(1280)
    for score in (
        single @ single.T,
        single[:, shuffled] @ single[:, shuffled].T,
        np.cumsum(single * single[:1], 1)[:, -1:],
    ):
        assert (score == exact[:, : score.shape[1]]).all()


def test_an_encoder_of_the_store_is_not_needed() -> None:
    assert isinstance(make_scorers(["color"], SMALL)["color"].encoder(), Encoder)
