"""A pass that is killed again and again, at moments of chance, ends with the files of an undisturbed one."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from visnet.batch.embed import embed
from visnet.batch.embed_job import InProcess
from visnet.platform import catalog as catalog_module
from visnet.platform.catalog import open_catalog, write_catalog
from visnet.platform.embeddings import embeddings_directory
from visnet.platform.encoder import Encoder, save_encoder
from visnet.platform.encoder_manifest import newest_encoder
from visnet.platform.imaging import encode_png
from visnet.platform.networks import make_recipe
from visnet.platform.settings import EmbedSettings
from visnet.platform.store import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SETTINGS = EmbedSettings(gpus_per_actor=0, batch_size=16, unit_rows=16)
UNITS = -(-670 // 16)
MOST_UNITS, LONGEST_S = 8, 0.05
"""A run is killed after so many further units and so long, at most."""
MOST_KILLS = 15
PASS = """
import sys
from tests.integration.test_embed_kills import run
print("ready", flush=True)
run(sys.argv[1])
"""


def run(location: str) -> None:
    """The pass, in this process."""
    store = Store(location)
    embed(store, open_catalog(store, "shop", "2"), newest_encoder(store).encoder, SETTINGS, InProcess())


def shop(folder: Path, encoders: Path | None = None) -> Store:
    """A version that was embedded, and the next: most pictures are new, some are not, some twice, some broken."""
    store = Store(str(folder))
    if encoders is None:
        save_encoder(store, Encoder(make_recipe("visnet-tiny", width=48, image_size=64, dimension=16)))
    else:
        folder.mkdir()
        (folder / "encoders").symlink_to(encoders)
    dice = np.random.default_rng(0)
    pictures = [encode_png(dice.integers(0, 255, (20, 20, 3), dtype=np.uint8)) for _ in range(700)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_module, "ROWS_PER_PART", 60)
        for version, chosen in (
            ("1", pictures[:60]),
            ("2", [*pictures[30:], b"broken", *pictures[100:160], b"broken"]),
        ):
            ids = [f"p{number:04d}" for number in range(len(chosen))]
            rows = pa.table({"image_id": ids, "product_id": ids, "category": ["a"] * len(ids), "image": chosen})
            batches = (rows.slice(first, 60) for first in range(0, len(rows), 60))
            write_catalog(store, name="shop", version=version, source="test", batches=batches)
    embed(store, open_catalog(store, "shop", "1"), newest_encoder(store).encoder, SETTINGS, InProcess())
    return store


def files_of(store: Store) -> dict[str, bytes]:
    folder = Path(store.path(embeddings_directory(newest_encoder(store).encoder, "shop", "2")))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def units_of(store: Store) -> int:
    return sum(1 for _ in Path(store.location).glob("work/embeddings/*/shop-2/units/*.parquet"))


def test_many_kills(tmp_path: Path) -> None:
    undisturbed = shop(tmp_path / "undisturbed")
    run(undisturbed.location)
    store = shop(tmp_path / "killed", Path(undisturbed.path("encoders")))
    chance = random.Random(0)
    kills = 0
    while True:
        running = subprocess.Popen([sys.executable, "-c", PASS, store.location], cwd=ROOT, stdout=subprocess.PIPE)
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        until = units_of(store) + chance.randint(0, MOST_UNITS)
        while kills < MOST_KILLS and units_of(store) < min(until, UNITS) and running.poll() is None:
            time.sleep(0.002)
        try:
            assert running.wait(chance.uniform(0, LONGEST_S) if kills < MOST_KILLS else None) == 0
            break
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            kills += 1
    assert kills >= 3
    assert files_of(store) == files_of(undisturbed)
