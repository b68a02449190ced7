"""What many tests need: a store of their own, and pictures made on the spot."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visnet.platform.store import Store

os.environ.setdefault("OMP_NUM_THREADS", "1")  # on busy cores threads that wait for each other make tests crawl


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes an encoded picture of noise, another one for each seed."""

    def make(seed: int = 0, *, width: int = 40, height: int = 40, format: str = "PNG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=format)
        return buffer.getvalue()

    return make
