"""The pretrained trunk as an encoder: its width, what its embedding is, and where its weights come from."""

import pytest
import torch

from visnet.platform.networks import describe_recipe, make_recipe, trunk
from visnet.platform.networks.pretrained import LITE0, NOT_ASKED
from visnet.platform.networks.trunk import Trunk, last_width

WIDTHS = {LITE0: 1280, "resnet18": 512, "convnext_tiny": 768, "efficientnet_v2_s": 1280}


@pytest.mark.parametrize("name", WIDTHS)
def test_the_dimension_is_the_last_maps_width(name: str) -> None:
    recipe = Trunk(trunk=name, image_size=64, resize=72)
    with torch.device("meta"):
        network = recipe.build()
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, recipe.dimension)
    assert recipe.dimension == last_width(name) == WIDTHS[name]


def test_the_embedding_is_the_mean_of_the_last_map() -> None:
    torch.manual_seed(0)
    network = Trunk(image_size=64, resize=64).build().eval()
    image_BCHW = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        last_BCHW = network.trunk(image_BCHW)[-1]
        expected_BD = last_BCHW.mean(dim=(2, 3))
        embedding_BD = network(image_BCHW)
    torch.testing.assert_close(embedding_BD, expected_BD / expected_BD.norm(dim=1, keepdim=True))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_weights_are_fetched_by_name_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(trunk, "load_pretrained", lambda backbone, name: asked.append((backbone, name)) or "these")
    network, source = Trunk(trunk="resnet18").build_pretrained()
    assert source == "these"
    assert asked == [(network.trunk.backbone, "resnet18")]
    assert Trunk(pretrained=False).build_pretrained()[1] == NOT_ASKED
    assert len(asked) == 1


def test_inputs_are_scaled_as_the_trunk_was_trained() -> None:
    assert Trunk().preprocessing.mean == (0.5, 0.5, 0.5)
    assert Trunk(trunk="resnet50").preprocessing.mean == (0.485, 0.456, 0.406)
    assert Trunk(image_size=160, resize=183).preprocessing.crop == 160


def test_a_description_gives_it_back_and_nonsense_is_refused() -> None:
    recipe = Trunk(trunk="resnet50", image_size=96, resize=100)
    assert make_recipe(**describe_recipe(recipe)) == recipe
    with pytest.raises(ValueError, match="unknown trunk"):
        Trunk(trunk="alexnet")
    with pytest.raises(ValueError, match="multiple of 32"):
        Trunk(image_size=100)
