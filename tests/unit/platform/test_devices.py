"""Which device a process computes on: what Ray says it has, and what torch sees."""

from __future__ import annotations

import logging

import pytest
import torch

from visnet.platform.devices import device_for


@pytest.mark.parametrize(
    ("gpus", "seen", "device", "warned"),
    [
        (0.0, False, "cpu", False),
        (0.0, True, "cpu", False),  # another process's
        (1.0, True, "cuda", False),
        (0.25, True, "cuda", False),
        (0.25, False, "cpu", True),  # pretended
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gpus: float,
    seen: bool,
    device: str,
    warned: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    with caplog.at_level(logging.WARNING):
        assert device_for(gpus) == device
    assert ("torch sees no GPU" in caplog.text) == warned
