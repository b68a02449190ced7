"""The map of a catalogue: neighbours stay together, and what has no shape is laid out all the same."""

import numpy as np
import pytest

from visnet.platform.chance import LEAST, chance_score
from visnet.platform.embedding_map import plane


def groups(count: int, each: int, dimension: int = 16) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    centres = np.repeat(np.eye(dimension)[:count], each, axis=0)
    vectors = centres + 0.05 * random.normal(size=centres.shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(np.arange(count), each)


def test_what_looks_alike_lies_together() -> None:
    vectors, group = groups(4, 25)
    place = plane(vectors.astype(np.float16))
    assert place.shape == (100, 2)
    assert (place.min(axis=0) == 0).all()
    assert (place.max(axis=0) == 1).all()
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.95


def test_the_same_vectors_give_the_same_map() -> None:
    vectors, _ = groups(3, 10)
    assert np.array_equal(plane(vectors), plane(vectors))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8])
def test_a_few_or_equal_products_have_a_map_too(count: int) -> None:
    for vectors in (np.eye(16)[:count], np.tile(np.eye(16)[:1], (count, 1))):
        place = plane(vectors)
        assert place.shape == (count, 2)
        assert np.isfinite(place).all()
        assert ((place >= 0) & (place <= 1)).all()


def test_chance_is_what_few_pairs_exceed() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chance = chance_score(vectors.astype(np.float16))
    assert chance is not None
    above = [
        float(vectors[one] @ vectors[other]) > chance for one in range(300) for other in range(one)
    ]  # the slow twin
    assert 0.005 < np.mean(above) < 0.02
    assert chance_score(vectors[: LEAST - 1]) is None
