"""Learning rates: who learns when, and how fast."""

import pytest
import torch
from torch import nn

from visnet.platform.settings import TrainSettings
from visnet.train.optimizer import Freeze, make_optimizer, schedule, set_learning_rate

SETTINGS = TrainSettings(steps=100, warmup_steps=10, learning_rate=1.0, trunk_learning_rate_factor=0.1)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Flatten())
        self.head = nn.Linear(2, 2)

    def pretrained_part(self) -> nn.Module:
        return self.trunk


def test_warms_up_and_falls_to_nothing() -> None:
    rates = [schedule(step, SETTINGS) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[9], abs=0.03)
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_pretrained_layers_learn_slower() -> None:
    network = Network()
    optimizer = make_optimizer(network, SETTINGS, pretrained=True)
    assert set_learning_rate(optimizer, 50, SETTINGS) == pytest.approx(0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in network.head.parameters()] == pytest.approx([0.5] * 2)
    assert [rates[id(p)] for p in network.trunk.parameters()] == pytest.approx([0.05] * 4)
    assert len(rates) == len(list(network.parameters()))


def test_without_pretrained_weights_all_learn_alike() -> None:
    optimizer = make_optimizer(Network(), SETTINGS, pretrained=False)
    assert [group["factor"] for group in optimizer.param_groups] == [1.0]


def pass_through(network: Network) -> None:
    network.head(network.trunk(torch.randn(8, 2, 1, 1))).sum().backward()


def test_frozen_layers_keep_their_weights_until_their_step_and_their_statistics_for_good() -> None:
    network = Network()
    freeze = Freeze(network, steps=2, pretrained=True)
    assert [freeze.apply(step) for step in range(4)] == [True, False, True, False]

    freeze.apply(0)
    before = {name: tensor.clone() for name, tensor in network.trunk.state_dict().items()}
    pass_through(network)
    assert all(parameter.grad is None for parameter in network.trunk.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.trunk.state_dict().items())
    assert network.head.weight.grad is not None

    freeze.apply(2)
    pass_through(network)
    assert all(parameter.grad is not None for parameter in network.trunk.parameters())
    assert torch.equal(before["1.running_mean"], network.trunk[1].running_mean)


def test_without_pretrained_weights_nothing_is_frozen() -> None:
    network = Network()
    assert not Freeze(network, steps=2, pretrained=False).apply(0)
    before = network.trunk[1].running_mean.clone()
    pass_through(network)
    assert not torch.equal(before, network.trunk[1].running_mean)
    assert not Freeze(nn.Linear(2, 2), steps=2, pretrained=False).apply(0)  # has no pretrained part to ask for
