"""TensorBoard scalars of a training: written beside the run, kept with the encoder.

    tensorboard --logdir .visnet/encoders       (pip install tensorboard)

Event files are written locally and copied to the store at every checkpoint, so any store will do and what is there
never reaches beyond the checkpoint that a restart goes on from.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from visnet.platform.store import Store


class Scalars:
    """Scalars of one run, from `step` on.

    tensorboardX's SummaryWriter hands its events to a thread and `flush` does not wait for it, so the points before a
    checkpoint could be missing in the store; its EventsWriter below writes at once.

    Args:
        directory: where in the store the event files go.
        step: where the run goes on; points of later steps from before a crash are dropped by TensorBoard.
    """

    def __init__(self, store: Store, directory: str, *, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._store, self._directory = store, directory
        self._folder = Path(tempfile.mkdtemp(prefix="visnet-scalars-"))
        self._writer = EventsWriter(str(self._folder / "events"), f".{uuid.uuid4().hex[:8]}")
        if step:
            self._writer.write_event(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve; a name with a slash is grouped by what stands before it."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._writer.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))

    def publish(self) -> None:
        """Copy what was written so far into the store."""
        self._writer.flush()
        for file in self._folder.iterdir():
            self._store.write(f"{self._directory}/{file.name}", file.read_bytes())

    def close(self) -> None:
        self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
