"""The weights of a network as files of an artifact, and the digest that ties them to what the network is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from visnet.platform.errors import DigestMismatchError
from visnet.platform.store import Store

WEIGHTS = "weights.safetensors"


def network_digest(network: nn.Module, description: dict[str, Any]) -> str:
    """SHA-256, hex, of what the network is and of every weight by name."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_weights(store: Store, directory: str, network: nn.Module) -> None:
    """Write a network's weights into an artifact."""
    weights = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    store.write(f"{directory}/{WEIGHTS}", safetensors.torch.save(weights))


def read_weights(store: Store, directory: str, network: nn.Module) -> None:
    """Fill a network with an artifact's weights.

    Raises:
        DigestMismatchError: they are not those of such a network.
    """
    try:
        network.load_state_dict(safetensors.torch.load(store.read(f"{directory}/{WEIGHTS}")))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise DigestMismatchError(f"the weights of {directory} don't fit its manifest: {error}") from None
