"""Which device a process that was given GPUs by Ray really has."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


def device_for(gpus: float) -> str:
    """`cuda` for a process with a share of a GPU, `cpu` for one without; and, said aloud, where torch sees none.

    On a machine without GPUs `visnet cluster up --local` offers pretended ones, so that what takes place on GPUs can be
    tried there.
    """
    if not gpus:
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    logger.warning("torch sees no GPU in a process that was given one: it computes on the CPU")
    return "cpu"
