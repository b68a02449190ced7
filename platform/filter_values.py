"""Values of a filter in the type of the column they are compared with.

What comes is what JSON can say: true and false, numbers, text; dates and times as ISO 8601. Everything else that is
wrong is refused with a `ValueError` that says what was expected and what came.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

Scalar = bool | int | float | str | Decimal | datetime.date
"""A datetime is a date too."""

_ENDLESS = Decimal(10) ** 80
"""Beyond what any column holds."""


class Bounds(NamedTuple):
    """A range; all that is given must hold."""

    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None


def value_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's values; a dictionary's is that of what it stands for."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_filterable(kind: pa.DataType) -> bool:
    """True for columns of text, truth, numbers, dates and times, and for those that hold nothing."""
    return any(is_kind(value_type(kind)) for is_kind, _ in _FIT)


def fit_values(values: Iterable[Any], kind: pa.DataType) -> tuple[Scalar, ...]:
    """Values that a column may hold, in its type, each once.

    Raises:
        ValueError: it can't hold one of them.
    """
    return tuple(dict.fromkeys(_fit(value, kind, exactly=True) for value in values))


def fit_bounds(bounds: Bounds, kind: pa.DataType) -> Bounds | None:
    """A range that holds the same values of the column, with ends in its type; None if it can't hold any.

    Raises:
        ValueError: the column's values have no order, or can't be compared with what came.
    """
    given = {name: value for name, value in bounds._asdict().items() if value is not None}
    if given and (_is_text(kind) or pa.types.is_boolean(kind)):
        raise ValueError(f"has no range: expected any_of, got {', '.join(given)}")
    fitted = {name: _fit(value, kind, exactly=False) for name, value in given.items()}
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return _stepped(fitted, kind)
    return Bounds(**fitted)


def _fit(value: Any, kind: pa.DataType, *, exactly: bool) -> Any:
    for is_kind, fit in _FIT:
        if is_kind(kind):
            return fit(value, kind, exactly)
    raise ValueError(f"can't be compared, got {value!r}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _anything(value: Any, kind: pa.DataType, exactly: bool) -> Scalar:
    if not isinstance(value, Scalar):
        raise ValueError(f"expected a value, got {value!r}")
    return value


def _text(value: Any, kind: pa.DataType, exactly: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    return value


def _truth(value: Any, kind: pa.DataType, exactly: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {value!r}")
    return value


def _number(value: Any) -> int | float | Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or value != value:
        raise ValueError(f"expected a number, got {value!r}")
    return value


def _float(value: Any, kind: pa.DataType, exactly: bool) -> float:
    """As the column would hold it: 19.99 equals the nearest float32, not a number beside it."""
    number = _number(value)
    try:
        number = float(number)
    except OverflowError:
        number = math.inf if number > 0 else -math.inf
    with np.errstate(over="ignore"):
        return float(np.array(number).astype(f"f{kind.bit_width // 8}"))


def _exact(value: Any, kind: pa.DataType, exactly: bool) -> int | Decimal:
    """An integer or a decimal; one that is a bound may be anything, `_stepped` brings it onto the column's grid."""
    number = Decimal(str(_number(value)))
    if not exactly:
        return number
    steps = _steps(number, kind)
    if steps.denominator != 1 or abs(number) > _ENDLESS or not _least(kind) <= steps <= _most(kind):
        raise ValueError(f"expected numbers that it can hold, got {value!r}")
    return _of_steps(int(steps), kind)


def _date(value: Any, kind: pa.DataType, exactly: bool) -> datetime.date:
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"expected a date like 2026-01-31, got {value!r}") from None
    if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
        raise ValueError(f"expected a date like 2026-01-31, got {value!r}")
    return value


def _time(value: Any, kind: pa.DataType, exactly: bool) -> datetime.datetime:
    """A day is its first moment; in a column with a time zone, what comes without one is meant as UTC."""
    moment = _moment(value)
    if kind.tz is None and moment.tzinfo is not None:
        raise ValueError(f"expected a time without a time zone, got {value!r}")
    if kind.tz is not None:
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    if exactly or kind.unit == "ns":
        try:
            pa.scalar(moment, pa.timestamp("us", kind.tz)).cast(kind)
        except pa.ArrowInvalid:
            raise ValueError(f"expected times that it can hold, got {value!r}") from None
    return moment


def _moment(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    try:
        return datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a time like 2026-01-31T12:00:00, got {value!r}") from None


_FIT: list[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType, bool], Scalar]]] = [
    (pa.types.is_null, _anything),
    (_is_text, _text),
    (pa.types.is_boolean, _truth),
    (pa.types.is_floating, _float),
    (pa.types.is_integer, _exact),
    (pa.types.is_decimal, _exact),
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _time),
]


def _stepped(ends: dict[str, Decimal], kind: pa.DataType) -> Bounds | None:
    """Both ends included and on the grid of what the column can hold; None if nothing of it lies between them."""
    least, most = _least(kind), _most(kind)
    low, high = least, most
    for name, end in ends.items():
        steps = _steps(end, kind)
        if name.startswith("g"):
            low = max(low, math.floor(steps) + 1 if name == "gt" else math.ceil(steps))
        else:
            high = min(high, math.ceil(steps) - 1 if name == "lt" else math.floor(steps))
    if low > high:
        return None
    gives_low, gives_high = any(name.startswith("g") for name in ends), any(name.startswith("l") for name in ends)
    return Bounds(gte=_of_steps(low, kind) if gives_low else None, lte=_of_steps(high, kind) if gives_high else None)


def _steps(number: Decimal, kind: pa.DataType) -> Fraction:
    """How many of the column's smallest steps a number is."""
    near = max(-_ENDLESS, min(_ENDLESS, number))
    return Fraction(near) * 10 ** _scale(kind)


def _of_steps(steps: int, kind: pa.DataType) -> int | Decimal:
    return steps if pa.types.is_integer(kind) else Decimal(steps).scaleb(-_scale(kind), Context(prec=100))


def _scale(kind: pa.DataType) -> int:
    return int(kind.scale) if pa.types.is_decimal(kind) else 0


def _most(kind: pa.DataType) -> int:
    if pa.types.is_decimal(kind):
        return int(10**kind.precision) - 1
    return int(2 ** (kind.bit_width - pa.types.is_signed_integer(kind))) - 1


def _least(kind: pa.DataType) -> int:
    if pa.types.is_unsigned_integer(kind):
        return 0
    return -_most(kind) - pa.types.is_integer(kind)
