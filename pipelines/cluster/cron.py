"""When a schedule starts a run: the six fields that Kubeflow reads, of which the first is the second.

Its reader (robfig/cron 1) takes five fields too, but as second, minute, hour, day and month, so that "0 3 * * 1" means
every hour of January. Here five are refused.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from syntrial.errors import ConfigError

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
NAMED = {"@yearly": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * 0", "@daily": "0 0 0 * * *"}
FIELDS = "it has six fields: second minute hour day month weekday, such as '0 0 3 * * 1' for Mondays at 03:00:00 UTC"
YEARS = 5  # after which Kubeflow stops looking for a time that fits


@dataclass(frozen=True)
class Span:
    """What a field may be: lowest and highest value, and names for values."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # from the lowest value on


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
    fields: tuple[frozenset[int], ...]  # the values that fit, in the order of SPANS
    any_day: bool  # a * in day or weekday: then both must fit, otherwise either

    @classmethod
    def of(cls, text: str) -> Cron:
        """Reads six fields.

        Raises:
            ConfigError: other than six fields, a value that cannot be, a time that never comes or comes all the time.
        """
        words = text.split()
        if len(words) != len(SPANS):
            raise ConfigError(_sentence(text, words))
        fields = tuple(_values(word, span, text) for word, span in zip(words, SPANS, strict=True))
        stars = any(part[0] in "*?" for word in (words[3], words[5]) for part in word.split(","))
        cron = cls(" ".join(words), fields, stars)
        cron._refuse_nonsense(text, words)
        return cron

    def after(self, moment: datetime) -> datetime | None:
        """The first time later than a moment; None when none comes within YEARS."""
        seconds, minutes, hours, _, months, _ = self.fields
        now = moment.replace(microsecond=0) + timedelta(seconds=1)
        last_year = now.year + YEARS
        while now.year <= last_year:
            if now.month not in months:
                now = _midnight((now.replace(day=1) + timedelta(days=32)).replace(day=1))
            elif not self._fits_day(now):
                now = _midnight(now) + timedelta(days=1)
            elif now.hour not in hours:
                now = now.replace(minute=0, second=0) + timedelta(hours=1)
            elif now.minute not in minutes:
                now = now.replace(second=0) + timedelta(minutes=1)
            elif now.second not in seconds:
                now += timedelta(seconds=1)
            else:
                return now
        return None

    def _fits_day(self, now: datetime) -> bool:
        fits = now.day in self.fields[3], now.isoweekday() % 7 in self.fields[5]
        return all(fits) if self.any_day else any(fits)

    def _refuse_nonsense(self, text: str, words: list[str]) -> None:
        if len(self.fields[0]) > 1:
            slower = " ".join(["0", *words[1:]])
            raise ConfigError(f"the schedule {text!r} starts several runs a minute; did you mean {slower!r}?")
        if self.after(datetime(2024, 1, 1)) is None:  # a leap year
            raise ConfigError(f"the schedule {text!r} never comes: no month of it has such a day")


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0)


def _sentence(text: str, words: list[str]) -> str:
    meant = NAMED.get(text.strip().lower())
    if len(words) == 5:
        meant = " ".join(["0", *words])
        if _is_wrong(meant):
            meant = None
        counted = "has five fields, as cron does, and so lacks the seconds"
    else:
        counted = f"has {len(words)} field{'' if len(words) == 1 else 's'}"
    return f"the schedule {text!r} {counted}; {FIELDS}" + (f"; did you mean {meant!r}?" if meant else "")


def _is_wrong(text: str) -> bool:
    try:
        Cron.of(text)
    except ConfigError:
        return True
    return False


def _values(word: str, span: Span, text: str) -> frozenset[int]:
    values: set[int] = set()
    for part in word.split(","):
        match = re.fullmatch(r"(?:([*?])|(\w+)(?:-(\w+))?)(?:/([0-9]+))?", part, re.ASCII)
        if not match:
            raise ConfigError(f"{part!r} in the schedule {text!r} is no {span.name}; {_form(span)}")
        star, first, last, step = match.groups()
        low = span.low if star else _value(first, span, text)
        high = span.high if star or (step and not last) else _value(last or first, span, text)
        if low > high or step == "0":
            raise ConfigError(f"{part!r} in the schedule {text!r} holds no {span.name}; {_form(span)}")
        values.update(range(low, high + 1, int(step or 1)))
    return frozenset(values)


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
