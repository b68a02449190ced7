"""Numbers of a process, against what Prometheus wants of them."""

import threading

import pytest

from visnet.serve.metering import Counter, Gauge, Histogram, Sample


def test_a_counter_counts_by_its_labels() -> None:
    requests = Counter("requests_total", "…", "route", "status")
    requests.add("/v1/search", "200")
    requests.add("/v1/search", "200", amount=2)
    requests.add("/v1/search", "503")
    assert list(requests.samples()) == [
        Sample("requests_total", {"route": "/v1/search", "status": "200"}, 3.0),
        Sample("requests_total", {"route": "/v1/search", "status": "503"}, 1.0),
    ]


def test_a_counter_without_labels_is_0_before_anything_happened() -> None:
    assert list(Counter("partial_total", "…").samples()) == [Sample("partial_total", {}, 0.0)]


def test_a_label_too_few_is_an_error() -> None:
    requests = Counter("requests_total", "…", "route", "status")
    requests.add("/v1/search")
    with pytest.raises(ValueError, match="shorter"):
        list(requests.samples())


def test_a_replaced_gauge_forgets_what_it_was() -> None:
    release = Gauge("release", "…", "release")
    release.set(1.0, "r-1")
    release.replace({("r-2",): 1.0})
    assert list(release.samples()) == [Sample("release", {"release": "r-2"}, 1.0)]


def test_a_histogram_s_buckets_hold_what_is_at_most_their_end() -> None:
    seconds = Histogram("seconds", "…", "stage", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 30.0):
        seconds.observe(value, "decode")
    seconds.observe(0.2, "decode", times=2)
    samples = {(one.name, one.labels.get("le")): one.value for one in seconds.samples()}
    assert samples == {
        ("seconds_bucket", "0.1"): 2,
        ("seconds_bucket", "1"): 5,
        ("seconds_bucket", "+Inf"): 6,
        ("seconds_sum", None): pytest.approx(31.05),
        ("seconds_count", None): 6,
    }


def test_the_labels_of_samples_are_those_that_were_announced() -> None:
    for family in (Counter("a", "…", "x"), Histogram("b", "…", "x", bounds=(1.0,)), Gauge("c", "…", "x")):
        match family:
            case Counter():
                family.add("1")
            case Histogram():
                family.observe(1.0, "1")
            case _:
                family.set(1.0, "1")
        for sample in family.samples():
            assert tuple(sample.labels) == family.sample_labels[sample.name]


def test_threads_lose_no_count() -> None:
    counter, histogram = Counter("a_total", "…", "x"), Histogram("b", "…", bounds=(1.0,))

    def count() -> None:
        for _ in range(5_000):
            counter.add("1")
            histogram.observe(0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.value for one in counter.samples()] == [20_000]
    assert [one.value for one in histogram.samples()] == [20_000, 20_000, 10_000.0, 20_000]
