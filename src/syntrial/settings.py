"""The base of all settings: meaning, bounds and source of each, and one sentence for each mistake.

The sections of a study are in config.py; those of generators are in generators/settings.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from syntrial.errors import ConfigError

PAPER = "Sashank et al. 2022"
UNSAID = "unsaid in the paper"


def setting(default: Any, meaning: str, source: str, **bounds: Any) -> Any:
    """A setting: its default, its meaning with unit, the source of the default, and bounds (ge, gt, le, lt,
    min_length).
    """
    if isinstance(default, list | dict):
        return Field(default_factory=default.copy, description=meaning, json_schema_extra={"source": source}, **bounds)
    return Field(default, description=meaning, json_schema_extra={"source": source}, **bounds)


class Config(BaseModel):
    """A section of settings. Unknown names and invalid values are refused; the error names the setting and what would
    fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
    shares_all: ClassVar[bool] = False  # whether the settings under `all` apply to all sections inside

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        numbers = (int, float, list[int], list[float], tuple[float, float])
        number = cls.model_fields[info.field_name or ""].annotation in numbers
        for one in value if isinstance(value, list | tuple) else [value]:
            if number and isinstance(one, bool):  # YAML reads yes, no, on and off as these
                raise PydanticCustomError("no_number", "it needs a number, neither yes nor no")
        return value

    @classmethod
    def of(cls, settings: dict[str, Any], where: str = "", above: str = "", **overrides: Any) -> Self:
        """Settings from plain values.

        Args:
            where: the file of the values, for messages.
            above: the section of the values, for messages.

        Raises:
            ConfigError: one sentence per mistake: setting, value, and what would fit.
        """
        try:
            return cls.model_validate({**settings, **overrides})
        except ValidationError as error:
            problems = _without_repeats(cls, error.errors())
            raise ConfigError("; ".join(_sentence(cls, problem, where, above) for problem in problems)) from None


def hint(name: str, known: list[str]) -> str:
    """A hint for an unknown name: a similar known name, else all known names."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"


def settings_of(config: Config, prefix: str = "") -> list[dict[str, Any]]:
    """Every setting with its value, meaning and source, one row each, in the order of definition."""
    rows: list[dict[str, Any]] = []
    for name, value in config:
        if isinstance(value, Config):
            rows += settings_of(value, f"{prefix}{name}.")
            continue
        field = type(config).model_fields[name]
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        facts = {"meaning": field.description, "source": extra.get("source", "")}
        rows.append({"name": prefix + name, "value": value, **facts})
    return rows


def _without_repeats(cls: type[Config], problems: Sequence[Any]) -> list[Any]:
    """The mistakes, where one under `all` of a section counts once although it appears in several of its parts."""
    alike: dict[tuple[Any, str], list[Any]] = {}
    for problem in problems:
        path = problem["loc"]
        shared = tuple("all" if _shares_all(cls, path[:place]) else part for place, part in enumerate(path))
        alike.setdefault((shared, problem["msg"]), []).append(problem)
    return [same[0] if len(same) == 1 else {**same[0], "loc": place} for (place, _), same in alike.items()]


def _shares_all(cls: type[Config], path: tuple[Any, ...]) -> bool:
    current: Any = cls
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        current = field.annotation if field else None
    return getattr(current, "shares_all", False)


def _sentence(cls: type[Config], problem: Any, where: str, above: str) -> str:
    place = ".".join(filter(None, [above, *map(str, problem["loc"])]))
    prefix = f"{where}: " if where else ""
    if problem["type"] == "sentence":  # a complete message
        return f"{prefix}{problem['msg']}"
    if problem["type"] == "extra_forbidden":
        section, known = _section(cls, problem["loc"][:-1])
        section = ".".join(filter(None, (above, section)))
        name = str(problem["loc"][-1])
        return f"{prefix}{f'{section} has' if section else 'there is'} no {name!r}; {hint(name, known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "model_type":
        message = "it needs settings by name"
    if problem["type"] == "string_pattern_mismatch":
        example = _default(cls, problem["loc"])
        message = f"it has the form of {example!r}" if example else "it needs letters, digits, and - _ . between them"
    if problem["type"] == "value_error":
        return f"{prefix}{place + '.' if place else ''}{message}"
    return f"{prefix}{place} is {problem['input']!r}; {message[0].lower()}{message[1:]}"


def _default(cls: type[Config], path: tuple[Any, ...]) -> str:
    """The default of a text setting; "" for values inside a list or a mapping."""
    current: Any = cls
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return ""
        current = fields[part].annotation if part != path[-1] else fields[part].default
    return current if isinstance(current, str) else ""


def _section(cls: type[Config], path: tuple[Any, ...]) -> tuple[str, list[str]]:
    current: Any = cls
    for part in path:
        # An item of a list, or a setting of the section.
        current = get_args(current)[0] if isinstance(part, int) else current.model_fields[part].annotation
    return ".".join(map(str, path)), list(current.model_fields)
