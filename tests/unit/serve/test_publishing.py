"""What is sent to Ray, with a stand-in for its gauges."""

import pytest

from visnet.serve import telemetry
from visnet.serve.metering import Counter, Gauge, Histogram
from visnet.serve.publishing import Publisher

REPLICA = {"deployment": "shard", "replica": "abc"}


class RayGauge:
    """Takes what a Ray gauge takes, and refuses what one refuses."""

    made: list["RayGauge"] = []  # noqa: RUF012

    def __init__(self, name: str, about: str, keys: tuple[str, ...]) -> None:
        self.name, self.keys = name, keys
        self.values: dict[frozenset[tuple[str, str]], float] = {}
        RayGauge.made.append(self)

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.keys)
        assert all(isinstance(tag, str) for tag in tags.values())
        self.values[frozenset(tags.items())] = value


@pytest.fixture
def families(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter, Gauge, Histogram]:
    made = (Counter("a_total", "…", "x"), Gauge("b", "…"), Histogram("c", "…", "x", bounds=(1.0,)))
    monkeypatch.setattr(telemetry, "FAMILIES", made)
    RayGauge.made = []
    return made


def values() -> dict[str, list[float]]:
    return {gauge.name: list(gauge.values.values()) for gauge in RayGauge.made}


def test_everything_is_set_and_set_anew(families: tuple[Counter, Gauge, Histogram]) -> None:
    counter, gauge, histogram = families
    publisher = Publisher(REPLICA, RayGauge)
    publisher.publish()
    assert values() == {}
    counter.add("1")
    gauge.set(7.0)
    histogram.observe(0.5, "1")
    publisher.publish()
    counter.add("1")
    publisher.publish()
    assert values() == {"a_total": [2.0], "b": [7.0], "c_bucket": [1, 1], "c_sum": [0.5], "c_count": [1]}
    assert len(RayGauge.made) == 5  # one for each name, however often


def test_every_value_names_its_replica(families: tuple[Counter, Gauge, Histogram]) -> None:
    families[1].set(7.0)
    Publisher(REPLICA, RayGauge).publish()
    assert RayGauge.made[0].values == {frozenset(REPLICA.items()): 7.0}
