"""The times of a schedule: Kubeflow's cron expressions, with six fields of which the first is the second.

Kubeflow's parser (robfig/cron 1) also accepts five fields, but as second, minute, hour, day and month, so "0 3 * * 1"
means every hour of January. Five fields are therefore refused here. cronsim computes the times; the fields are parsed
here, because the two parsers differ: cronsim accepts L, # and weekday 7, ends a weekday's N/STEP on Sunday and N-N/STEP
at the last value, and does not accept a question mark.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime

from cronsim import CronSim, CronSimError

from syntrial.errors import ConfigError
from syntrial.words import counted

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
NAMED = {"@yearly": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0", "@daily": "0 0 0 * * *"}
FIELDS = "it has six fields: second minute hour day month weekday, such as '0 0 3 * * 1' for Mondays at 03:00:00 UTC"
YEARS = 5  # Kubeflow's limit in its search for the next time


@dataclass(frozen=True)
class Span:
    """The values of a field: lowest, highest, and names."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # of the values, beginning with the lowest


SPANS = (
    Span("second", 0, 59),
    Span("minute", 0, 59),
    Span("hour", 0, 23),
    Span("day", 1, 31),
    Span("month", 1, 12, tuple(MONTHS)),
    Span("weekday", 0, 6, tuple(DAYS)),
)


@dataclass(frozen=True)
class Cron:
    """The times of a schedule, in UTC."""

    text: str
    read: str  # the same times in cronsim's syntax

    @classmethod
    def of(cls, text: str) -> Cron:
        """Parses six fields.

        Raises:
            ConfigError: not six fields, an invalid value, a date that does not exist, or several runs per minute.
        """
        words = text.split()
        if len(words) != len(SPANS):
            raise ConfigError(_sentence(text, words))
        fields = [_field(word, span, text) for word, span in zip(words, SPANS, strict=True)]
        cron = cls(" ".join(words), " ".join(fields))
        if not fields[0].isdecimal():
            slower = " ".join(["0", *words[1:]])
            raise ConfigError(f"the schedule {text!r} starts several runs per minute; did you mean {slower!r}?")
        if cron.after(datetime(2024, 1, 1)) is None:  # a leap year
            raise ConfigError(f"the schedule {text!r} never starts a run: none of its months has such a day")
        return cron

    def after(self, moment: datetime) -> datetime | None:
        """The first time after a moment; None if there is none within YEARS."""
        try:
            found = next(CronSim(self.read, moment), None)
        except CronSimError:  # none of the months has such a day
            return None
        return found if found and found.year <= moment.year + YEARS else None


def _sentence(text: str, words: list[str]) -> str:
    meant = NAMED.get(text.strip().lower())
    if len(words) == 5:
        meant = " ".join(["0", *words])
        if _is_wrong(meant):
            meant = None
        found = "has five fields, as in cron, so it lacks the seconds"
    else:
        found = f"has {counted(len(words), 'field')}"
    return f"the schedule {text!r} {found}; {FIELDS}" + (f"; did you mean {meant!r}?" if meant else "")


def _is_wrong(text: str) -> bool:
    try:
        Cron.of(text)
    except ConfigError:
        return True
    return False


def _field(word: str, span: Span, text: str) -> str:
    """A field in cronsim's syntax, as a list of its values.

    With a star in day or weekday, both must match. robfig/cron accepts the star anywhere in the field, cronsim only at
    its start.
    """
    stars: list[str] = []
    values: set[int] = set()
    for part in word.split(","):
        match = re.fullmatch(r"(?:([*?])|(\w+)(?:-(\w+))?)(?:/([0-9]+))?", part, re.ASCII)
        if not match:
            raise ConfigError(f"{part!r} in the schedule {text!r} is no {span.name}; {_form(span)}")
        star, first, last, step = match.groups()
        low = span.low if star else _value(first, span, text)
        high = span.high if star or (step and not last) else _value(last or first, span, text)
        if low > high or (step and not int(step)):
            raise ConfigError(f"{part!r} in the schedule {text!r} holds no {span.name}; {_form(span)}")
        if star and span.name in ("day", "weekday"):
            stars.append(f"*/{step or 1}")
        else:
            values.update(range(low, high + 1, int(step or 1)))
    return ",".join([*stars, *map(str, sorted(values))])


def _value(word: str, span: Span, text: str) -> int:
    if word.lower() in span.names:
        return span.low + span.names.index(word.lower())
    if not word.isascii() or not word.isdecimal() or not span.low <= int(word) <= span.high:
        near = difflib.get_close_matches(word.lower(), span.names, n=1)
        raise ConfigError(
            f"{word!r} in the schedule {text!r} is no {span.name}; {_form(span)}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    return int(word)


def _form(span: Span) -> str:
    named = f" or {span.names[0]} to {span.names[-1]}" if span.names else ""
    return f"it may be {span.low} to {span.high}{named}, *, or ranges, lists and steps such as 1-3, 1,3 and */2"
