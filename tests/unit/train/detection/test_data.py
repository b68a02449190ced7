"""Batches of scenes and photos: mixed by their share, every photo as often as the others, boxes without padding."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from visnet.train.detection.data import SceneBatch, _again_and_again, batches
from visnet.train.detection.decode import MOST_BOXES, NO_BOX

CPU = torch.device("cpu")
PHOTO = 100
"""Photos have numbers from this on."""


def columns(numbers: list[int]) -> dict[str, np.ndarray]:
    """Pictures whose pixels say their number, with one box fewer than their number's last digit says."""
    count = len(numbers)
    box, label = np.zeros((count, MOST_BOXES, 4), np.float32), np.full((count, MOST_BOXES), NO_BOX)
    for place, number in enumerate(numbers):
        for one in range(number % 10):
            box[place, one], label[place, one] = (1, 2, 3 + one, 4), one
    image = np.repeat(np.array(numbers, np.uint8), 8 * 8 * 3).reshape(count, 8, 8, 3)
    return {"image": image, "box": box, "label": label}


class Rows:
    """What Ray Data's iterator does, in this process: batches in another order for each seed, the last one smaller."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self.seeds: list[int | None] = []

    def iter_batches(
        self,
        *,
        batch_size: int,
        batch_format: str,
        drop_last: bool = False,
        prefetch_batches: int = 1,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        assert batch_format == "numpy"
        self.seeds.append(local_shuffle_seed)
        numbers = self.numbers
        if local_shuffle_buffer_size is not None:
            numbers = np.random.default_rng(local_shuffle_seed).permutation(numbers).tolist()
        for start in range(0, len(numbers), batch_size):
            if len(numbers) - start >= batch_size or not drop_last:
                yield columns(numbers[start : start + batch_size])


def numbers_of(image: Any) -> list[int]:
    return [int(one.flatten()[0]) for one in image]


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_every_photo_comes_equally_often_round_by_round(size: int) -> None:
    photos = Rows([PHOTO + number for number in range(7)])
    taken = [numbers_of(rows["image"]) for rows in islice(_again_and_again(photos, size, seed=5), 70)]
    assert {len(one) for one in taken} == {size}
    stream = [number for one in taken for number in one]
    rounds = [stream[start : start + 7] for start in range(0, 7 * (len(stream) // 7), 7)]
    assert all(sorted(one) == photos.numbers for one in rounds)
    assert len({tuple(one) for one in rounds}) > len(rounds) // 2, "not another order each time"
    assert len(set(photos.seeds)) == len(photos.seeds)
    assert photos.seeds[0] == 5
    assert len(photos.seeds) == -(-70 * size // 7), "more is read than is handed on"


def test_rows_of_a_photo_stay_together_over_the_end_of_a_round() -> None:
    for rows in islice(_again_and_again(Rows([101, 102, 103]), 2, seed=0), 12):
        expected = columns(numbers_of(rows["image"]))
        assert all((rows[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize(("share", "from_photos"), [(0.0, 0), (0.25, 2), (0.5, 4), (0.9, 7)])
def test_batches_mix_by_the_share(share: float, from_photos: int) -> None:
    scenes, photos = Rows(list(range(40))), Rows([PHOTO + number for number in range(5)])
    made = list(batches(scenes, photos, size=8, photo_share=share, seed=0, device=CPU))
    seen = [numbers_of(one.image_BCHW) for one in made]
    assert {sum(number >= PHOTO for number in one) for one in seen} == {from_photos}
    assert {len(one) for one in seen} == {8}
    own = [number for one in seen for number in one if number < PHOTO]
    assert own == list(range(40 // (8 - from_photos) * (8 - from_photos)))  # once each, the rest does not fill a batch
    if from_photos:
        counts = Counter(number for one in seen for number in one if number >= PHOTO)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_without_photos_all_are_scenes() -> None:
    made = list(batches(Rows(list(range(9))), None, size=4, photo_share=0.5, seed=0, device=CPU))
    assert [numbers_of(one.image_BCHW) for one in made] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_photos_alone_need_no_scenes_and_never_end() -> None:
    made = list(islice(batches(Rows([]), Rows([101, 102, 103]), size=2, photo_share=1.0, seed=0, device=CPU), 30))
    counts = Counter(number for one in made for number in numbers_of(one.image_BCHW))
    assert counts == {101: 20, 102: 20, 103: 20}


def test_a_batch_is_pictures_first_by_channel_with_their_boxes_only() -> None:
    (batch,) = batches(Rows([3, 0, 5]), None, size=3, photo_share=0.5, seed=0, device=CPU)
    assert isinstance(batch, SceneBatch)
    assert len(batch) == 3
    assert (batch.image_BCHW.shape, batch.image_BCHW.dtype) == ((3, 3, 8, 8), torch.uint8)
    assert [len(one.box_N4) for one in batch.truth] == [3, 0, 5]
    assert batch.truth[0].box_N4.tolist() == [[1, 2, 3, 4], [1, 2, 4, 4], [1, 2, 5, 4]]
    assert batch.truth[0].label_N.tolist() == [0, 1, 2]
    assert batch.truth[1].box_N4.shape == (0, 4)
    assert all(one.score_N is None for one in batch.truth)


def test_channels_are_not_mixed_up() -> None:
    class Coloured(Rows):
        def iter_batches(self, **options: Any) -> Iterator[dict[str, np.ndarray]]:
            for rows in super().iter_batches(**options):
                rows["image"][:, :, :4] = (10, 20, 30)
                yield rows

    (batch,) = batches(Coloured([1]), None, size=1, photo_share=0.5, seed=0, device=CPU)
    assert batch.image_BCHW[0, :, 0, 0].tolist() == [10, 20, 30]
    assert batch.image_BCHW[0, :, 0, 7].tolist() == [1, 1, 1]
