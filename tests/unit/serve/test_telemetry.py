"""The families, and that everything of the service that is tested without Ray measures without Ray."""

import re
import subprocess
import sys

import pytest

from visnet.serve import telemetry
from visnet.serve.metering import Counter, Histogram

UNITS = ("_seconds", "_size", "_images", "_total")


def test_names_are_ours_and_unlike() -> None:
    names = [family.name for family in telemetry.FAMILIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"visnet_[a-z_]+", name) for name in names)


def test_every_family_of_the_module_is_published() -> None:
    defined = [value for value in vars(telemetry).values() if isinstance(value, telemetry.Family)]
    assert {family.name for family in defined} == {family.name for family in telemetry.FAMILIES}


def test_names_tell_counters_and_units() -> None:
    for family in telemetry.FAMILIES:
        assert isinstance(family, Counter) == family.name.endswith("_total")
        if isinstance(family, Histogram):
            assert family.name.endswith(UNITS)


def test_no_label_is_an_id() -> None:
    labels = {label for family in telemetry.FAMILIES for label in family.labels}
    assert labels == {
        "route", "method", "status", "stage", "what", "reason", "hit", "how", "release", "encoder", "shard", "outcome",
    }  # fmt: skip


def test_a_stage_that_fails_counts_too() -> None:
    def count() -> float:
        name = "visnet_stage_seconds_count"
        return sum(one.value for one in telemetry.STAGE_SECONDS.samples() if one.name == name)

    before = count()
    with pytest.raises(KeyError), telemetry.stage("merge"):
        raise KeyError
    assert count() == before + 1


def test_measuring_needs_no_ray() -> None:
    """What the embedder and the fan-out call costs no import of Ray, and starts nothing."""
    program = (
        "import sys; from visnet.serve import telemetry, exchange, access_log, logs, scrape\n"
        "telemetry.SHED.add('late')\nassert 'ray' not in sys.modules, 'ray'"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
