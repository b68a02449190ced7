"""Several nodes' exports as one text."""

import asyncio

import pytest

from visnet.serve import scrape
from visnet.serve.scrape import Scrape, merged

ONE = """\
# HELP ray_visnet_requests_total Requests answered.
# TYPE ray_visnet_requests_total gauge
ray_visnet_requests_total{Component="core_worker",NodeAddress="10.0.0.1",SessionName="s",Version="2.60.0",WorkerId="w",\
deployment="ingress",method="GET",otel_scope_name="x",otel_scope_version="",replica="a",route="/v1/products/{product_id:path}",\
status="200"} 3.0
ray_node_cpu_count{NodeAddress="10.0.0.1"} 8.0
"""
TWO = """\
ray_visnet_stage_seconds_bucket{Component="w",le="0.5",replica="b",stage="decode"} 1.0
ray_visnet_stage_seconds_sum{Component="w",replica="b",stage="decode"} 0.25
ray_visnet_requests_total{NodeAddress="10.0.0.2",method="GET",replica="b",route="/x",status="200",WorkerId="w"} 1e+06
ray_visnet_unknown_total{replica="b"} 1.0
"""


def test_our_families_of_all_nodes_each_with_its_type() -> None:
    text = merged([ONE, "", TWO])
    assert text.splitlines() == [
        "# HELP visnet_requests_total Requests answered.",
        "# TYPE visnet_requests_total counter",
        'visnet_requests_total{NodeAddress="10.0.0.1",deployment="ingress",method="GET",replica="a",'
        'route="/v1/products/{product_id:path}",status="200"} 3.0',
        'visnet_requests_total{NodeAddress="10.0.0.2",method="GET",replica="b",route="/x",status="200"} 1e+06',
        text.splitlines()[4],
        "# TYPE visnet_stage_seconds histogram",
        'visnet_stage_seconds_bucket{le="0.5",replica="b",stage="decode"} 1.0',
        'visnet_stage_seconds_sum{replica="b",stage="decode"} 0.25',
    ]


def test_a_parser_of_the_format_reads_it() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(merged([ONE, TWO]))}
    assert {name: family.type for name, family in families.items()} == {
        "visnet_requests": "counter",
        "visnet_stage_seconds": "histogram",
    }
    assert sum(sample.value for sample in families["visnet_requests"].samples) == pytest.approx(1_000_003)


def test_nothing_is_no_text() -> None:
    assert merged([]) == ""


def test_who_asks_all_the_time_does_not_make_the_nodes_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(scrape, "_addresses", lambda: ["one", "two"])
    monkeypatch.setattr(scrape, "_ask", lambda url: asked.append(url) or TWO)

    async def script() -> list[str]:
        ours = Scrape()
        first = await asyncio.gather(*[ours.text() for _ in range(5)])
        monkeypatch.setattr(scrape, "KEPT_S", -1.0)
        return [*first, await ours.text()]

    texts = asyncio.run(script())
    assert set(texts) == {merged([TWO, TWO])}
    assert sorted(asked) == ["one", "one", "two", "two"]


def test_a_node_that_does_not_answer_is_left_out() -> None:
    assert scrape._ask("http://127.0.0.1:1/metrics") == ""


@pytest.mark.parametrize(
    ("host", "url"), [("10.0.0.1", "http://10.0.0.1:80/metrics"), ("fd00::1", "http://[fd00::1]:80/metrics")]
)
def test_addresses_of_both_kinds(host: str, url: str) -> None:
    assert scrape._url(host, 80) == url
