"""What a box reports: one Event at a time, and its words for people."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SHOWN = 6  # facts of a box on one line; programs get all


@dataclass(frozen=True)
class Event:
    """One report of a box's progress. As JSON, one line of its file."""

    time: str  # ISO 8601, UTC
    event: str  # "start", "progress" or "end"
    box: str
    labels: dict[str, str]  # those of protocol, kind, label, arm and seed that apply
    done: int
    total: int
    unit: str
    elapsed_s: float
    per_s: float | None = None  # units per second over RATE_WINDOW_S; at the end over the whole run
    remaining_s: float | None = None
    numbers: dict[str, float | None] = field(default_factory=dict)  # the latest; None for one that is not finite
    state: str = ""  # at the end: "done" or "failed"
    error: str = ""  # one line, when it failed

    @property
    def name(self) -> str:
        """The box's name for people, the same in all its events."""
        return name_of(self.box, self.labels)

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else float(self.state == "done")

    @property
    def detail(self) -> str:
        """Time left, speed and the latest numbers; the most important first, since a narrow terminal cuts the rest."""
        parts = [] if self.remaining_s is None or self.state else [f"{duration(self.remaining_s)} left"]
        parts += [] if self.per_s is None else [f"{short(self.per_s)} {self.unit}/s"]
        parts += [f"{name} {short(value)}" for name, value in self.numbers.items()]
        return ", ".join(parts[:SHOWN])

    @property
    def outcome(self) -> str:
        """One line about a box that has ended."""
        if self.state == "failed":
            return f"{self.name}: failed after {duration(self.elapsed_s)}: {self.error}"
        return ", ".join(filter(None, (f"{self.name}: done in {duration(self.elapsed_s)}", self.detail)))


def name_of(box: str, labels: dict[str, str]) -> str:
    """The name of a box for people, such as "train_generator held out simple/normal"."""
    which = "/".join(filter(None, (labels.get(key) for key in ("kind", "label", "arm"))))
    seed = f"seed {labels['seed']}" if labels.get("seed") else ""
    return " ".join(filter(None, (box, labels.get("protocol", "").replace("_", " "), which, seed)))


def duration(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def finite(value: float) -> float | None:
    """None for a number that JSON does not have."""
    return float(value) if math.isfinite(value) else None


def short(value: float | None) -> str:
    """At least three significant figures, without an exponent for numbers of common size."""
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
