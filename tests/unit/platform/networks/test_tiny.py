"""The tiny network: every size it is for, unit length, gradients everywhere."""

import json

import pytest
import torch

from visnet.platform.networks import describe_recipe, make_recipe
from visnet.platform.networks.tiny import VisNetTiny


@pytest.mark.parametrize("size", [28, 29, 31, 32, 33, 40, 47, 56, 63, 64])
def test_unit_vectors_at_every_size(size: int) -> None:
    torch.manual_seed(size)
    network = VisNetTiny(image_size=size, width=4, dimension=24).build()
    image_BCHW = torch.randn(3, 3, size, size)
    for training in (True, False):
        network.train(training)
        with torch.no_grad():
            embedding_BD = network(image_BCHW)
        assert embedding_BD.shape == (3, 24)
        assert embedding_BD.dtype == torch.float32
        torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(3))
        assert float((embedding_BD[0] - embedding_BD[1]).norm()) > 1e-3


def test_mixed_precision_still_gives_float32_of_unit_length() -> None:
    network = VisNetTiny(width=4, dimension=24).build().eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        embedding_BD = network(torch.randn(3, 3, 32, 32))
    assert embedding_BD.dtype == torch.float32
    torch.testing.assert_close(embedding_BD.norm(dim=1), torch.ones(3))


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = VisNetTiny(width=4, dimension=24).build()
    (network(torch.randn(8, 3, 32, 32)) * torch.randn(8, 24)).sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert dead == []


@pytest.mark.parametrize("path", ["deep", "shallow_half", "shallow_quarter"])
def test_every_path_counts(path: str) -> None:
    torch.manual_seed(0)
    network = VisNetTiny(width=4, dimension=24).build().eval()
    image_BCHW = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = network(image_BCHW)
        for parameter in getattr(network, path).parameters():
            parameter.zero_()
        assert float((network(image_BCHW) - before).abs().max()) > 1e-3


@pytest.mark.parametrize("size", [27, 65, 224])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"28 to 64 pixels, got image_size={size}"):
        VisNetTiny(image_size=size)


def test_description_rebuilds_the_recipe() -> None:
    recipe = VisNetTiny(image_size=28, width=8)
    assert make_recipe(**json.loads(json.dumps(describe_recipe(recipe)))) == recipe


def test_unknown_recipes_and_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'giant': expected one of visnet-tiny"):
        make_recipe("giant")
    with pytest.raises(
        ValueError, match=r"recipe 'visnet-tiny' has no setting depth: it has dimension, image_size, shallow, width"
    ):
        make_recipe("visnet-tiny", depth=3)
