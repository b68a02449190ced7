"""The paper's network: the sizes it publishes, its normalisation against two twins, gradients everywhere.

Built on the meta device where only shapes matter: real weights would be 750 MB.
"""

import json
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from visnet.platform.networks import describe_recipe, pretrained, visnet_vgg16
from visnet.platform.networks.visnet_vgg16 import ShallowPath, VisNetVGG16, VisNetVGG16Network, soft_normalize


@pytest.fixture
def network() -> Iterator[VisNetVGG16Network]:
    with torch.device("meta"):
        yield VisNetVGG16().build()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_each_part(network: VisNetVGG16Network) -> None:
    vgg16_to_fc7 = 138_357_544 - (4096 * 1000 + 1000)
    fc8 = 4096 * 4096 + 4096
    conv = 96 * 3 * 8 * 8 + 96
    assert count(network.deep) == vgg16_to_fc7 + fc8
    assert count(network.shallow_a) == count(network.shallow_b) == conv
    assert count(network.embedding) == (4800 + 4096) * 4096 + 4096
    assert count(network) == 187_521_024


def test_shapes_of_each_path(network: VisNetVGG16Network) -> None:
    image_BCHW = torch.zeros(2, 3, 224, 224)
    assert network.deep(image_BCHW).shape == (2, 4096)
    assert network.shallow(image_BCHW).shape == (2, 4800)
    assert network(image_BCHW).shape == (2, VisNetVGG16().dimension) == (2, 4096)


@pytest.mark.parametrize(("path", "sides"), [("shallow_a", [56, 15, 15, 15, 5]), ("shallow_b", [28, 8, 8, 8, 5])])
def test_shallow_maps_are_those_of_the_paper(network: VisNetVGG16Network, path: str, sides: list[int]) -> None:
    x_BCHW = torch.zeros(1, 3, 224, 224)
    seen = []
    for layer in network.get_submodule(path).children():
        x_BCHW = layer(x_BCHW)
        seen.append(x_BCHW.shape[-1])
    assert seen == sides
    assert x_BCHW.shape == (1, 96, 5, 5)


def test_dropout_is_the_recipes() -> None:
    with torch.device("meta"):
        network = VisNetVGG16(dropout=0.25).build()
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.25]


def test_gradient_reaches_every_parameter(network: VisNetVGG16Network) -> None:
    network(torch.zeros(2, 3, 224, 224)).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_a_shallow_path_learns_and_sees_the_pooled_raw_image() -> None:
    torch.manual_seed(0)
    path = ShallowPath(shrink=4, pool=nn.MaxPool2d(7, stride=4, padding=3, ceil_mode=True))
    image_BCHW = torch.rand(2, 3, 224, 224)
    path(image_BCHW).square().sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in path.parameters())  # type: ignore[union-attr]
    blocks = image_BCHW.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.equal(path[0](image_BCHW), blocks.max(dim=-1).values)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_soft_normalize_equals_the_formula(scale: float) -> None:
    x_BF = scale * torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    expected = [[value / math.sqrt(1 + sum(v * v for v in row)) for value in row] for row in x_BF.tolist()]
    torch.testing.assert_close(soft_normalize(x_BF), torch.tensor(expected), rtol=1e-5, atol=1e-7)


def test_soft_normalize_equals_the_authors_lrn() -> None:
    x_BF = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    lrn = nn.LocalResponseNorm(size=127, alpha=127.0, beta=0.5)
    torch.testing.assert_close(soft_normalize(x_BF), lrn(x_BF[:, :, None, None]).flatten(1))


def test_soft_normalize_bounds_the_length_and_keeps_half_precision_finite() -> None:
    x_BF = torch.full((1, 4096), 300.0, dtype=torch.float16)  # |x|^2 = 3.7e8, far over the largest float16
    y_BF = soft_normalize(x_BF)
    assert y_BF.dtype == torch.float32
    assert float(y_BF.norm()) == pytest.approx(1.0, abs=1e-4)
    assert float(soft_normalize(torch.tensor([[3.0, 4.0]])).norm()) == pytest.approx(5 / math.sqrt(26))


def test_settings() -> None:
    recipe = VisNetVGG16()
    assert (recipe.preprocessing.resize, recipe.preprocessing.crop) == (256, 224)
    assert json.loads(json.dumps(describe_recipe(recipe))) == {
        "name": "visnet-vgg16",
        "normalisation": "soft",
        "dropout": 0.4,
        "pretrained": True,
    }
    with pytest.raises(ValueError, match=r"dropout .* got 1"):
        VisNetVGG16(dropout=1.0)


def test_only_build_pretrained_asks_for_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(visnet_vgg16, "load_pretrained", lambda trunk, name: asked.append(name) or "some weights")
    with torch.device("meta"):
        VisNetVGG16().build()
        assert VisNetVGG16(pretrained=False).build_pretrained()[1] == pretrained.NOT_ASKED
        assert asked == []
        network, weights = VisNetVGG16().build_pretrained()
    assert (asked, weights) == (["vgg16"], "some weights")
    assert isinstance(network, VisNetVGG16Network)


def test_the_vgg16_part_has_torchvisions_names(network: VisNetVGG16Network) -> None:
    from torchvision.models import vgg16

    published = vgg16(weights=None).state_dict()
    ours = network.deep.vgg16.state_dict()
    assert set(published) - set(ours) == {"classifier.6.weight", "classifier.6.bias"}
    assert {name: value.shape for name, value in ours.items()} == {name: published[name].shape for name in ours}
