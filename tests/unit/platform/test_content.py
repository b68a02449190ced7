import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.content import content_keys, hex_hashes, short_keys
from visnet.platform.imaging import content_hash

HASHES = [content_hash(str(number).encode()) for number in range(300)]


def test_a_key_is_the_bytes_of_its_hash() -> None:
    assert [bytes(key.ljust(16, b"\0")) for key in content_keys(pa.array(HASHES))] == [
        bytes.fromhex(text) for text in HASHES
    ]


def test_a_hash_comes_back_from_its_key() -> None:
    ends = ["0" * 32, "ab" * 15 + "00", "00" * 15 + "ab"]
    assert hex_hashes(content_keys(pa.array([*HASHES, *ends]))) == [*HASHES, *ends]
    assert hex_hashes(content_keys(pa.array(HASHES))[::7]) == HASHES[::7]
    assert hex_hashes(content_keys(pa.array([], pa.string()))) == []


def test_keys_sort_as_their_hashes_do() -> None:
    order = np.argsort(content_keys(pa.array(HASHES)))
    assert [HASHES[number] for number in order] == sorted(HASHES)


@pytest.mark.parametrize("column", [pa.array(HASHES)[100:200], pa.chunked_array([HASHES[100:150], HASHES[150:200]])])
def test_slices_and_chunks(column: pa.Array) -> None:
    assert content_keys(column).tolist() == content_keys(pa.array(HASHES[100:200])).tolist()


def test_short_keys_are_the_first_eight_bytes() -> None:
    wanted = [int.from_bytes(bytes.fromhex(text)[:8], "big", signed=True) for text in HASHES]
    assert short_keys(pa.array(HASHES)).tolist() == wanted
    assert len(set(wanted)) == len(HASHES)


def test_no_hashes() -> None:
    assert len(content_keys(pa.array([], pa.string()))) == 0


@pytest.mark.parametrize("broken", [[None], ["a" * 31], ["g" * 32], ["a" * 33]])
def test_what_is_no_hash_is_refused(broken: list[str | None]) -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        content_keys(pa.array([HASHES[0], *broken], pa.string()))
