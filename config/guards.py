"""Guards: how many files one request of a source may delete without approval."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from config.names import is_name
from config.problems import explain

ALL = "*"
"""Names the guard of every source that is not listed."""
FORM = '{"catalog": {"max_files": 5000, "usual_factor": 10}, "*": {"max_files": 100000}}'


def _at_least_one(factor: float) -> float:
    if 0 < factor < 1:
        raise ValueError("must be 0 (no limit) or at least 1")
    return factor


def _source_name(name: str) -> str:
    if name != ALL and not is_name(name):
        raise ValueError("is not a source name: use 1 to 64 of A-Z a-z 0-9 . _ -, or * for all other sources")
    return name


class Guard(BaseModel):
    """Limits for one request. A request beyond any of them waits for approval; 0 means no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_files: int = Field(0, ge=0, le=1_000_000_000)
    max_share: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Of the files in the library, or in the folder of a cleanup rule."""
    usual_factor: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False), AfterValidator(_at_least_one)] = 0.0
    """Multiple of the median size of the last ten accepted requests."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must set max_files, max_share or usual_factor")
        return self


class Guards(RootModel[dict[Annotated[str, AfterValidator(_source_name)], Guard]]):
    """The guards of all sources, by name of the source."""

    model_config = ConfigDict(frozen=True, strict=True)

    @classmethod
    def read(cls, value: object) -> Guards:
        """Read the value of the setting, as JSON or decoded. ``ValueError`` names every problem."""
        try:
            return cls.model_validate_json(value) if isinstance(value, str) else cls.model_validate(value)
        except ValidationError as error:
            problems = [explain(detail, Guard.model_fields) for detail in error.errors() if detail["loc"]]
        raise ValueError("; ".join(problems) or f"must be a JSON object such as {FORM}")

    def bounds_of(self, source: str) -> dict[str, float] | None:
        """Return max_files, max_share and usual_factor of a source as an argument of the operations; None: no guard."""
        guard = self.root.get(source) or self.root.get(ALL)
        return guard.model_dump() if guard else None

    @property
    def need_a_count(self) -> bool:
        """Whether any guard is a share of the library, which must then be counted regularly."""
        return any(guard.max_share for guard in self.root.values())

    def __str__(self) -> str:
        """Write the guards so that ``read`` reads them back."""
        return self.model_dump_json(exclude_unset=True)
