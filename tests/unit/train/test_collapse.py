"""The collapse alarm, on figures alone."""

import pytest

from visnet.train.collapse import CollapseWatch

HEALTHY = {"spread": 0.9, "active_share": 0.4}
TOGETHER = {"spread": 0.001, "active_share": 1.0}


def test_is_silent_while_all_is_well() -> None:
    watch = CollapseWatch(margin=0.2, after=2)
    assert [watch.look(0.15, HEALTHY) for _ in range(10)] == [None] * 10


def test_speaks_after_so_many_bad_looks_in_a_row() -> None:
    watch = CollapseWatch(margin=0.2, after=3)
    looks = [watch.look(0.2, figures) for figures in (TOGETHER, TOGETHER, HEALTHY, TOGETHER, TOGETHER, TOGETHER)]
    assert [look is not None for look in looks] == [False] * 5 + [True]
    assert "lie together" in str(looks[-1])
    assert "stuck at the margin (0.2)" in str(looks[-1])


@pytest.mark.parametrize(
    ("margin", "loss", "figures", "alarm"),
    [
        (0.2, 0.2, {"spread": 0.1, "active_share": 1.0}, True),  # at the margin, close together
        (0.2, 0.2, {"spread": 0.9, "active_share": 1.0}, False),  # a loss may pass the margin on its way
        (0.2, 0.2, {"spread": 0.1, "active_share": 0.5}, False),
        (0.2, 0.1, {"spread": 0.1, "active_share": 1.0}, False),
        (None, 3.0, {"spread": 0.001}, True),
        (None, 3.0, {"spread": 0.5}, False),
    ],
)
def test_signs(margin: float | None, loss: float, figures: dict[str, float], alarm: bool) -> None:
    assert (CollapseWatch(margin=margin, after=1).look(loss, figures) is not None) == alarm


def test_after_0_speaks_at_once() -> None:
    assert CollapseWatch(margin=0.2, after=0).look(0.2, TOGETHER)
