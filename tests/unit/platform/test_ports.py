"""Blocks of ports: never the same twice, given back when closed."""

import socket

import pytest

from visnet.platform import ports


def test_two_blocks_never_overlap_and_a_closed_one_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FIRST", 29000)
    monkeypatch.setattr(ports, "LAST", 29600)
    claimed = []
    try:
        with pytest.raises(OSError, match="no free block"):  # noqa: PT012
            while True:
                claimed.append(ports.claim_ports())
        assert claimed, "the test needs one free block between 29000 and 29599"
        assert len({block.base for block in claimed}) == len(claimed) <= 3
        freed = claimed.pop()
        freed.close()
        freed.close()
        claimed.append(ports.claim_ports())
        assert claimed[-1].base == freed.base
    finally:
        for block in claimed:
            block.close()


def test_the_ranges_stay_inside_the_block_and_apart() -> None:
    with socket.socket() as guard:
        block = ports.PortBlock(base=20000, guard=guard)
        http, grpc = range(*block.replica_http), range(*block.replica_grpc)
        single = {block.dashboard, block.dashboard_metrics, block.autoscaler_metrics, block.ray_client}
        single |= {block.haproxy_stats, block.haproxy_metrics, block.fallback_http, block.fallback_grpc}
    assert len(single) == 8
    assert max(single) < http.start <= http.stop < grpc.start <= grpc.stop < 20000 + ports.BLOCK


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_listening_port_is_not_free(host: str) -> None:
    with socket.socket() as listening:
        listening.bind((host, 0))
        listening.listen()
        port = listening.getsockname()[1]
        assert not ports.is_free(port)
    assert ports.is_free(port)
