"""TensorBoard's event files in the store: read back record by record."""

import struct

from tensorboardX.proto.event_pb2 import Event

from visnet.platform.store import Store
from visnet.train.scalars import Scalars


def points(store: Store, directory: str) -> list[tuple[str, int, float]]:
    found = []
    for name in sorted(store.names(directory)):
        data, place = store.read(f"{directory}/{name}"), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)  # then 4 bytes of checksum, the record, 4 more
            event = Event.FromString(data[place + 12 : place + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            place += 12 + length + 4
    return found


def test_what_was_published_is_in_the_store(store: Store) -> None:
    scalars = Scalars(store, "training/x/tensorboard", step=0)
    scalars.write(5, {"train/loss": 0.5, "validation/recall_at_1": 0.25})
    scalars.publish()
    scalars.write(10, {"train/loss": 0.125})
    assert len(points(store, "training/x/tensorboard")) == 2  # no further than the last checkpoint
    scalars.publish()
    scalars.close()
    assert points(store, "training/x/tensorboard") == [
        ("train/loss", 5, 0.5),
        ("validation/recall_at_1", 5, 0.25),
        ("train/loss", 10, 0.125),
    ]


def test_a_run_that_goes_on_adds_to_what_stands(store: Store) -> None:
    for first in (0, 7):
        scalars = Scalars(store, "t", step=first)
        scalars.write(first + 1, {"train/loss": 1.0})
        scalars.publish()
        scalars.close()
    assert sorted(step for _, step, _ in points(store, "t")) == [1, 8]
    assert len(store.names("t")) == 2
