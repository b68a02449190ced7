"""Filters against asking every row in Python."""

import datetime
import math
import operator
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from visnet.platform.errors import FilterError, VisnetError
from visnet.platform.filters import Condition, Filter, categories, check, fields, mask, rest

NAN = math.nan
UTC = datetime.UTC
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "category": (pa.string(), ["a", "b", "c"]),
    "product_id": (pa.large_string(), ["p1", "p2", "ü"]),
    "brand": (pa.dictionary(pa.int32(), pa.string()), ["x", "y", None]),
    "small": (pa.int8(), [-128, -1, 0, 1, 127, None]),
    "count": (pa.uint64(), [0, 1, 2**64 - 1, None]),
    "number": (pa.int64(), [-(2**63), 2**53, 2**53 + 1, 2**63 - 1, None]),
    "half": (pa.float16(), [0.5, 1.5, NAN, None]),
    "single": (pa.float32(), [0.0, -0.0, float(np.float32(19.99)), math.inf, NAN, None]),
    "double": (pa.float64(), [-0.0, 0.5, 19.99, -math.inf, NAN, None]),
    "price": (pa.decimal128(7, 2), [Decimal("-1.00"), Decimal("0.00"), Decimal("19.99"), Decimal("99999.99"), None]),
    "sold": (pa.bool_(), [True, False, None]),
    "day": (pa.date32(), [datetime.date(2026, 1, 30), datetime.date(2026, 1, 31), None]),
    "second": (pa.timestamp("s"), [datetime.datetime(2026, 1, 31), datetime.datetime(1500, 1, 1, 12), None]),
    "moment": (pa.timestamp("ns", "Europe/Paris"), [datetime.datetime(2026, 1, 31, 12, tzinfo=UTC), None]),
    "nothing": (pa.null(), [None]),
}
ASKED: dict[str, list[Any]] = {
    "small": [-1000, -128, 0, 0.5, -0.5, 126.5, 127, 128, 1e300, math.inf, -math.inf, Decimal("0.999")],
    "count": [-1, 0, 2**64 - 1, 2**70],
    "number": [2**53, 2**53 + 1, 2.0**53, 2**63, -(2**63) - 1],
    "half": [0.5, 1, 1e9],
    "single": [0, -0.0, 19.99, math.inf, 10**400],
    "double": [0, 0.5, 19.99, Decimal("19.99")],
    "price": [0, 19.99, Decimal("19.985"), 19.995, 1e9, -1, -0.995],
    "day": ["2026-01-31", datetime.date(2026, 1, 30)],
    "second": ["2026-01-31", "2026-01-31T00:00:00.5", datetime.datetime(1500, 1, 1, 11, 59, 59, 999_999)],
    "moment": ["2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00", datetime.date(2026, 1, 31)],
    "nothing": [1, "a", True],
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
COMPARE = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def make_table(rows: int, seed: int = 0) -> pa.Table:
    dice = np.random.default_rng(seed)
    made = {}
    for name, (kind, values) in COLUMNS.items():
        chosen = [values[place] for place in dice.integers(0, len(values), rows)]
        chosen = [np.float16(value) if name == "half" and value is not None else value for value in chosen]
        made[name] = pa.chunked_array([pa.array(chosen[: rows // 3], kind), pa.array(chosen[rows // 3 :], kind)])
    return pa.table(made)


def comparable(value: Any, name: str) -> Any:
    """What a stored or an asked value is, as Python compares it."""
    kind = COLUMNS[name][0]
    if isinstance(value, str) and name in ("day", "second", "moment"):
        value = datetime.datetime.fromisoformat(value)
    if name in ("second", "moment") and isinstance(value, datetime.date):
        value = value if isinstance(value, datetime.datetime) else datetime.datetime(value.year, value.month, value.day)
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if name == "day" and isinstance(value, datetime.datetime):
        value = value.date()
    if name in ("single", "half", "double"):
        with np.errstate(over="ignore"):
            value = float(kind.to_pandas_dtype()(float(min(value, 10**300))))
    if name in ("price", "small", "number", "count") and isinstance(value, float) and math.isfinite(value):
        value = Decimal(str(value))
    return value


def slow_holds(condition: Condition, row: dict[str, Any]) -> bool:
    value = row[condition.field]
    if value is None or value != value:
        return False
    value = comparable(value, condition.field)
    if condition.any_of is not None and value not in [comparable(one, condition.field) for one in condition.any_of]:
        return False
    return all(
        COMPARE[name](value, comparable(end, condition.field))
        for name, end in condition.bounds._asdict().items()
        if end is not None
    )


def slow_passes(filter: Filter, row: dict[str, Any]) -> bool:
    return (
        all(slow_holds(one, row) for one in filter.must)
        and (not filter.should or any(slow_holds(one, row) for one in filter.should))
        and not any(slow_holds(one, row) for one in filter.must_not)
    )


def check_alike(filter: Filter, table: pa.Table) -> None:
    found = mask(check(filter, table.schema), table)
    assert found.dtype == bool
    assert found.tolist() == [slow_passes(filter, row) for row in table.to_pylist()], filter


def every_condition() -> list[Condition]:
    ranges = [
        Condition(field=name, **{end: value})
        for name, values in ASKED.items()
        for value in values
        for end in ("gt", "gte", "lt", "lte")
    ]
    stored = [
        Condition(field=name, any_of=(float(value) if isinstance(value, np.floating) else value,))
        for name, (_, values) in COLUMNS.items()
        for value in values
        if value is not None and value == value
    ]
    return [*ranges, *stored, Condition(field="brand", any_of=("x", "y", "z")), Condition(field="brand", any_of=())]


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_every_condition_is_what_asking_each_row_gives(rows: int) -> None:
    table = make_table(rows)
    for condition in every_condition():
        check_alike(Filter(must=(condition,)), table)
        check_alike(Filter(must_not=(condition,)), table)


def test_random_filters_are_what_asking_each_row_gives() -> None:
    dice, table, conditions = np.random.default_rng(1), make_table(150, seed=1), every_condition()
    for _ in range(300):
        groups = [[conditions[n] for n in dice.integers(0, len(conditions), dice.integers(0, 3))] for _ in range(3)]
        check_alike(Filter(must=tuple(groups[0]), should=tuple(groups[1]), must_not=tuple(groups[2])), table)


def test_a_range_and_values_must_both_hold() -> None:
    table = pa.table({"small": pa.array([1, 2, 3], pa.int8())})
    both = Condition(field="small", any_of=(1, 2), gt=1, lt=2.5)
    assert mask(check(Filter(must=(both,)), table.schema), table).tolist() == [False, True, False]


def test_values_come_back_in_the_columns_type() -> None:
    for condition, expected in (
        (Condition(field="double", gte=1), Condition(field="double", gte=1.0)),
        (Condition(field="single", any_of=(19.99,)), Condition(field="single", any_of=(float(np.float32(19.99)),))),
        (Condition(field="small", gt=1.5, lt=3), Condition(field="small", gte=2, lte=2)),
        (Condition(field="small", gt=1, lt=2), Condition(field="small", any_of=())),
        (Condition(field="price", any_of=(19.99, 1)), Condition(field="price", any_of=(Decimal("19.99"), Decimal(1)))),
        (Condition(field="price", gt=19.985), Condition(field="price", gte=Decimal("19.99"))),
        (Condition(field="day", lt="2026-01-31"), Condition(field="day", lt=datetime.date(2026, 1, 31))),
        (
            Condition(field="moment", lt="2026-01-31"),
            Condition(field="moment", lt=datetime.datetime(2026, 1, 31, tzinfo=UTC)),
        ),
    ):
        found = check(Filter(should=(condition,)), SCHEMA).should[0]
        assert found == expected
        for name in ("any_of", "gt", "gte", "lt", "lte"):
            value, wanted = getattr(found, name), getattr(expected, name)
            assert type(value) is type(wanted)
        assert len({Filter(must=(found,)), Filter(must=(expected,))}) == 1


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition(field="colour", any_of=("a",)), r"no field 'colour': can't be filtered on; fields: category, prod"),
        (Condition(field="content_hash", any_of=("a",)), r"'content_hash' is string and can't be filtered on; fields:"),
        (Condition(field="tags", any_of=("a",)), r"'tags' is list<.*> and can't be filtered on; fields: category, pr"),
        (Condition(field="price"), r"'price': expected any_of, gt, gte, lt or lte, got none of them"),
        (
            Condition(field="price", any_of=(None,)),
            r"'price', a column of decimal128\(7, 2\): expected a number, got N",
        ),
        (Condition(field="price", gt=True), r"'price'.*expected a number, got True"),
        (Condition(field="price", gt="1"), r"'price'.*expected a number, got '1'"),
        (Condition(field="price", any_of=(19.999,)), r"'price'.*expected numbers that it can hold, got 19\.999"),
        (Condition(field="price", any_of=(10**6,)), r"'price'.*expected numbers that it can hold, got 1000000"),
        (Condition(field="price", any_of=(math.inf,)), r"'price'.*expected numbers that it can hold, got inf"),
        (Condition(field="small", any_of=(128,)), r"'small', a column of int8: expected numbers that it can hold, go"),
        (Condition(field="small", any_of=(0.5,)), r"'small'.*expected numbers that it can hold, got 0\.5"),
        (Condition(field="count", any_of=(-1,)), r"'count'.*expected numbers that it can hold, got -1"),
        (Condition(field="double", gt=NAN), r"'double'.*expected a number, got nan"),
        (Condition(field="double", any_of=(False,)), r"'double'.*expected a number, got False"),
        (Condition(field="sold", any_of=(1,)), r"'sold', a column of bool: expected true or false, got 1"),
        (Condition(field="sold", gt=False), r"'sold'.*has no range: expected any_of, got gt"),
        (Condition(field="category", gte="a", lt="b"), r"'category'.*has no range: expected any_of, got gte, lt"),
        (Condition(field="brand", any_of=(1,)), r"'brand', a column of string: expected text, got 1"),
        (Condition(field="day", lt="31.1.2026"), r"'day'.*expected a date like 2026-01-31, got '31\.1\.2026'"),
        (Condition(field="day", lt=datetime.datetime(2026, 1, 1)), r"'day'.*expected a date like 2026-01-31, got dat"),
        (Condition(field="second", lt=5), r"'second'.*expected a time like 2026-01-31T12:00:00, got 5"),
        (Condition(field="second", lt="2026-01-31T00:00Z"), r"'second'.*expected a time without a time zone, got"),
        (Condition(field="second", any_of=("2026-01-31T00:00:00.5",)), r"'second'.*times that it can hold, got"),
        (Condition(field="moment", gt="0001-01-01"), r"'moment'.*expected times that it can hold, got '0001"),
        (Condition(field="nothing", gt=[1]), r"'nothing', a column of null: expected a value, got \[1\]"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_refused(condition: Condition, message: str) -> None:
    schema = SCHEMA.append(pa.field("content_hash", pa.string())).append(pa.field("tags", pa.list_(pa.string())))
    for group in ("must", "should", "must_not"):
        with pytest.raises(FilterError, match=message) as refused:
            check(Filter(**{group: (condition,)}), schema)
    assert isinstance(refused.value, VisnetError)


def test_fields_are_the_columns_that_can_be_filtered_on() -> None:
    where = [("content_hash", pa.string()), ("catalog_part", pa.int32()), ("tags", pa.list_(pa.string()))]
    assert fields(pa.schema([*SCHEMA, *(pa.field(*one) for one in where)])) == SCHEMA.names


def test_categories_that_must_be_are_taken_out() -> None:
    shoes = Condition(field="category", any_of=("shoes", "boots"))
    boots = Condition(field="category", any_of=("boots", "hats", "boots"))
    cheap = Condition(field="price", lte=5)
    assert categories(Filter()) is None
    assert categories(Filter(must=(cheap,), should=(shoes,), must_not=(boots,))) is None
    assert categories(Filter(must=(shoes, cheap))) == ("shoes", "boots")
    assert categories(Filter(must=(shoes, cheap, boots))) == ("boots",)
    assert categories(Filter(must=(shoes, Condition(field="category", any_of=())))) == ()
    assert rest(Filter(must=(shoes, cheap, boots), must_not=(boots,))) == Filter(must=(cheap,), must_not=(boots,))
    assert rest(Filter(must=(shoes,))).is_empty
    assert not Filter(should=(shoes,)).is_empty
