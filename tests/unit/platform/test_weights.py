"""Weights as files of an artifact: what comes out is what went in, and the digest notices every change."""

import pytest
import torch
from torch import Tensor, nn

from visnet.platform.errors import DigestMismatchError
from visnet.platform.store import Store
from visnet.platform.weights import network_digest, read_weights, write_weights


class Network(nn.Module):
    """Weights of several kinds, among them some that no optimizer changes."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)
        self.transposed = nn.Parameter(torch.rand(4, 2).t())
        self.register_buffer("coarse", torch.rand(2).half())


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_written_and_read(store: Store, network: Network) -> None:
    write_weights(store, "things/a", network)
    assert store.names("things/a") == ["weights.safetensors"]
    other = Network()
    assert network_digest(other, {}) != network_digest(network, {})
    read_weights(store, "things/a", other)
    assert all(torch.equal(value, weights(other)[name]) for name, value in weights(network).items())
    assert network_digest(other, {}) == network_digest(network, {})


@pytest.mark.parametrize(
    "name", ["first.weight", "norm.running_var", "norm.num_batches_tracked", "transposed", "coarse"]
)
def test_the_digest_is_of_every_weight(network: Network, name: str) -> None:
    before = network_digest(network, {})
    with torch.no_grad():
        value = network.state_dict()[name]
        value[(-1,) * value.ndim] += 1
    assert network_digest(network, {}) != before


def test_the_digest_is_of_names_shapes_and_kinds() -> None:
    def digest(name: str, value: Tensor) -> str:
        module = nn.Module()
        module.register_buffer(name, value)
        return network_digest(module, {})

    zeros = torch.zeros(6)
    seen = {digest("a", zeros), digest("b", zeros), digest("a", zeros.view(2, 3)), digest("a", zeros.int())}
    assert len(seen) == 4


def test_the_digest_is_of_the_description_in_any_order(network: Network) -> None:
    one = network_digest(network, {"size": 1, "classes": ["a", "b"]})
    assert network_digest(network, {"classes": ["a", "b"], "size": 1}) == one
    assert network_digest(network, {"size": 1, "classes": ["b", "a"]}) != one


def test_weights_of_another_network_are_refused(store: Store, network: Network) -> None:
    write_weights(store, "things/a", network)
    with pytest.raises(DigestMismatchError, match="things/a don't fit its manifest"):
        read_weights(store, "things/a", Network(width=4))
    with pytest.raises(DigestMismatchError, match="things/a don't fit its manifest"):
        read_weights(store, "things/a", nn.Linear(2, 3))


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_weights_cut_off_are_refused(store: Store, network: Network, keep: int) -> None:
    write_weights(store, "things/a", network)
    store.write("things/a/weights.safetensors", store.read("things/a/weights.safetensors")[:keep])
    with pytest.raises(DigestMismatchError, match="things/a"):
        read_weights(store, "things/a", network)
