"""The kinds of values that settings hold."""

from __future__ import annotations

from typing import Annotated

import pydantic
from annotated_types import Ge, Gt, Le

STRICT = pydantic.ConfigDict(extra="forbid")
# strict: YAML's `yes` is no 1, and "2" in quotes no 2
Whole = Annotated[int, pydantic.Strict()]
Number = Annotated[float, pydantic.Strict(), pydantic.AllowInfNan(False)]
AtLeastZero = Annotated[Whole, Ge(0)]
AtLeastOne = Annotated[Whole, Ge(1)]
NotNegative = Annotated[Number, Ge(0)]
Share = Annotated[Number, Ge(0), Le(1)]
Positive = Annotated[Number, Gt(0)]
