"""How long results are kept: bounds, and the times of single sources."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, RootModel, ValidationError

from config.names import NAME_RULE, is_name
from config.problems import explain

MAX_TTL_SECONDS = 10 * 365 * 86_400
MIN_RESULT_TTL_SECONDS = 60
"""While the result exists, callers can poll it, and a request id that is sent again is known."""
_FORM = '{"catalog": 86400, "shop": 2592000}'


def _source_name(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"is not a source name: {NAME_RULE}")
    return name


SourceName = Annotated[str, AfterValidator(_source_name)]
Seconds = Annotated[int, Field(strict=True, ge=MIN_RESULT_TTL_SECONDS, le=MAX_TTL_SECONDS)]


class ResultTtls(RootModel[dict[SourceName, Seconds]]):
    """Seconds for which results are kept, by name of the source."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def read(cls, value: object) -> ResultTtls:
        """Read the value of the setting, as JSON or decoded. ``ValueError`` names every problem."""
        try:
            return cls.model_validate_json(value) if isinstance(value, str) else cls.model_validate(value)
        except ValidationError as error:
            problems = [explain(detail, ()) for detail in error.errors() if detail["loc"]]
        raise ValueError("; ".join(problems) or f"must be a JSON object such as {_FORM}")

    def __str__(self) -> str:
        """Write the times so that ``read`` reads them back."""
        return self.model_dump_json()
