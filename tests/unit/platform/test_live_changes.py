"""Rows that come in, as columns; and the log they are kept in."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform import live_rows
from visnet.platform.filters import Condition, Filter, mask
from visnet.platform.live_changes import live_schema, rows_table
from visnet.platform.live_rows import LiveRows

SCHEMA = pa.schema(
    [
        ("name", pa.large_string()),
        ("price", pa.decimal128(7, 2)),
        ("day", pa.date32()),
        ("at", pa.timestamp("ms", "UTC")),
        ("count", pa.int8()),
        ("nothing", pa.null()),
    ]
)


def test_values_as_json_has_them_become_those_of_the_columns() -> None:
    row = {"name": "a", "price": 19.99, "day": "2026-01-31", "at": "2026-01-31T12:00:00Z", "count": 3, "colour": "red"}
    noon = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)
    price = Decimal("19.99")
    plain = {"name": "a", "price": price, "day": datetime.date(2026, 1, 31), "at": noon, "count": 3, "nothing": None}
    assert rows_table([row], SCHEMA).to_pylist() == [plain]
    assert rows_table([plain, {}], SCHEMA).to_pylist() == [plain, dict.fromkeys(SCHEMA.names)]
    assert rows_table([], SCHEMA).schema == SCHEMA


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": 5}, "column 'name' of large_string: "),
        ({"price": "1"}, r"column 'price' of decimal128\(7, 2\): expected a number, got '1'"),
        ({"price": 1.999}, r"column 'price' of decimal128\(7, 2\): expected numbers that it can hold, got 1.999"),
        ({"day": "today"}, "column 'day' of date32.*: expected a date like 2026-01-31, got 'today'"),
        ({"count": 300}, "column 'count' of int8: "),
        ({"nothing": 1}, "column 'nothing' of null: "),
    ],
)
def test_values_that_do_not_fit_are_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows_table([row], SCHEMA)


def test_dictionaries_become_what_they_stand_for() -> None:
    schema = pa.schema([("brand", pa.dictionary(pa.int32(), pa.string())), ("count", pa.int8())])
    assert live_schema(schema) == pa.schema([("brand", pa.string()), ("count", pa.int8())])


def test_a_filter_looks_at_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    monkeypatch.setattr(live_rows, "mask", lambda filter, rows: looked_at.append(len(rows)) or mask(filter, rows))
    monkeypatch.setattr(live_rows, "MOST_CHUNKS", 3)
    schema = pa.schema([("count", pa.int64())])
    log = LiveRows(schema)
    where = Filter(must=(Condition(field="count", gte=5),))
    for first in range(0, 30, 3):
        position_N = log.append(pa.table({"count": [first, first + 1, first + 2]}))
        assert position_N.tolist() == [first, first + 1, first + 2]
        for _ in range(2):
            assert log.mask(where).tolist() == [count >= 5 for count in range(first + 3)]
    assert looked_at == [3] * 10
    assert log.at(np.array([7, 2])) == [{"count": 7}, {"count": 2}]
    log.compact(np.array([2, 7, 9]))
    assert log.mask(where).tolist() == [False, True, True]
    assert log.at(np.array([2])) == [{"count": 9}]
    assert log.append(pa.table({"count": [1]})).tolist() == [3]


def test_the_log_is_put_together_when_half_is_dead() -> None:
    log = LiveRows(pa.schema([("count", pa.int64())]))
    log.append(pa.table({"count": list(range(5_000))}))
    assert log.wants_compaction(2_000)
    assert not log.wants_compaction(2_600)
    assert not log.wants_compaction(5_000)
    small = LiveRows(pa.schema([("count", pa.int64())]))
    small.append(pa.table({"count": list(range(1_000))}))
    assert not small.wants_compaction(0)
