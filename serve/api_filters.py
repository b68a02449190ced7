"""A search's filter as clients write it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from visnet.platform import filters
from visnet.platform.errors import FilterError
from visnet.serve.problems import ProblemError, explain

MAX_CONDITIONS = 50
MAX_VALUES = 1_000
Scalar = StrictBool | StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictStr


class Condition(BaseModel):
    """What a field has to be; all that is given must hold. A product that lacks the field satisfies none."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    field: str = Field(description="category, product_id, image_id, or an attribute of the catalogue.")
    eq: Scalar | None = Field(None, description="It equals this.")
    in_: list[Scalar] | None = Field(None, alias="in", max_length=MAX_VALUES, description="It is one of these.")
    gt: Scalar | None = Field(None, description="It is greater than this.")
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None

    @model_validator(mode="after")
    def _something(self) -> Condition:
        if all(getattr(self, name) is None for name in ("eq", "in_", "gt", "gte", "lt", "lte")):
            raise ValueError("expected at least one of eq, in, gt, gte, lt and lte")
        if self.eq is not None and self.in_ is not None:
            raise ValueError("expected eq or in, got both")
        return self

    def plain(self) -> filters.Condition:
        """The condition as the search takes it."""
        any_of = (self.eq,) if self.eq is not None else tuple(self.in_) if self.in_ is not None else None
        return filters.Condition(field=self.field, any_of=any_of, gt=self.gt, gte=self.gte, lt=self.lt, lte=self.lte)


Conditions = Annotated[list[Condition], Field(max_length=MAX_CONDITIONS)]


class Filter(BaseModel):
    """Narrows a search: inside it, so that k products are found if k exist."""

    model_config = ConfigDict(extra="forbid")

    category: list[str] | None = Field(
        None, max_length=MAX_VALUES, description="Only these categories; a single name will do."
    )
    must: Conditions = Field(default_factory=list, description="All of these hold.")
    should: Conditions = Field(default_factory=list, description="At least one of these holds, if there are any.")
    must_not: Conditions = Field(default_factory=list, description="None of these holds.")

    @field_validator("category", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def checked(self, schema: pa.Schema) -> filters.Filter | None:
        """The filter as the search takes it; None if it lets everything pass.

        Raises:
            ProblemError: 422, it does not fit the catalogue's attributes; the text names the field.
        """
        must = [condition.plain() for condition in self.must]
        if self.category is not None:
            must.insert(0, filters.Condition(field="category", any_of=tuple(sorted(set(self.category)))))
        plain = filters.Filter(
            must=tuple(must),
            should=tuple(condition.plain() for condition in self.should),
            must_not=tuple(condition.plain() for condition in self.must_not),
        )
        try:
            return None if plain.is_empty else filters.check(plain, schema)
        except FilterError as error:
            raise ProblemError(422, str(error)) from None


def read_filter(text: str | None, categories: list[str] | None) -> Filter:
    """The filter of a query string: JSON in `filter`, and `category` as often as wanted.

    Raises:
        ProblemError: 422, it is not a filter.
    """
    try:
        content = json.loads(text) if text is not None else {}
        if isinstance(content, dict) and categories is not None:
            content.setdefault("category", categories)
        return Filter.model_validate(content)
    except json.JSONDecodeError as error:
        raise ProblemError(422, f"filter: not JSON: {error}") from None
    except RecursionError:
        raise ProblemError(422, "filter: nested too deeply") from None
    except ValidationError as error:
        raise ProblemError(422, f"filter: {explain(list(error.errors()))}") from None
