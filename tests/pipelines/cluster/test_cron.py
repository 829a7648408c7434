"""The six fields of a schedule mean here what they mean to Kubeflow; the times below are those of robfig/cron 1.2."""

from datetime import UTC, datetime

import pytest

from pipelines.cluster.cron import Cron
from syntrial.errors import ConfigError

NOW = datetime(2026, 11, 23, 9, 30, 15, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("fields", "then"),
    [
        ("0 0 3 * * 1", "2026-11-30 03:00:00"),
        ("0 0 3 * * mon", "2026-11-30 03:00:00"),
        ("0 30 9 * * *", "2026-11-24 09:30:00"),
        ("16 30 9 * * *", "2026-11-23 09:30:16"),
        ("15 30 9 * * *", "2026-11-24 09:30:15"),
        ("0 */20 * * * *", "2026-11-23 09:40:00"),
        ("0 10/25 * * * ?", "2026-11-23 09:35:00"),
        ("0 0 0 31 * *", "2026-12-31 00:00:00"),
        ("0 0 0 1 JAN-MAR/2 *", "2027-01-01 00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 12 13 * 5", "2026-11-27 12:00:00"),  # the 13th or a Friday
        ("0 0 12 13 * *", "2026-12-13 12:00:00"),
        ("0 0 12 */2 * 5", "2026-11-27 12:00:00"),  # with a star in it the day must fit too
        ("0 5,35 9,21 * * 1-5", "2026-11-23 09:35:00"),
        ("0 0 12 13,*/2 * 5", "2026-11-27 12:00:00"),  # wherever the star stands
        ("*/60 0 12 ? * 5", "2026-11-27 12:00:00"),
        ("0 0 12 28-28/2 * *", "2026-11-28 12:00:00"),
    ],
)
def test_the_next_time(fields, then):
    assert f"{Cron.of(fields).after(NOW):%Y-%m-%d %H:%M:%S}" == then


@pytest.mark.parametrize(
    ("fields", "first", "second"),
    [
        ("0 0 3 * * 6/1", "2026-11-28 03:00:00", "2026-12-05 03:00:00"),  # a step ends on Saturday
        ("0 0 3 24-24/2 * *", "2026-11-24 03:00:00", "2026-12-24 03:00:00"),  # a range ends where it says
        ("0 0 3 1,*/30 * 2", "2026-12-01 03:00:00", "2027-06-01 03:00:00"),  # Tuesdays that are the 1st or the 31st
    ],
)
def test_two_times_where_readers_of_schedules_differ(fields, first, second):
    cron = Cron.of(fields)
    assert [f"{cron.after(now):%Y-%m-%d %H:%M:%S}" for now in (NOW, cron.after(NOW))] == [first, second]


def test_five_fields_are_refused_with_what_six_mean_and_the_line_that_was_meant():
    with pytest.raises(ConfigError) as refusal:
        Cron.of("0 3 * * 1")
    assert "lacks the seconds" in str(refusal.value)
    assert "second minute hour day month weekday" in str(refusal.value)
    assert str(refusal.value).endswith("did you mean '0 0 3 * * 1'?")


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ("", "has 0 fields"),
        ("0 0 0 3 * * 1", "has 7 fields"),
        ("@daily", "did you mean '0 0 0 [*] [*] [*]'"),
        ("* 0 3 * * 1", "several runs per minute; did you mean '0 0 3 \\* \\* 1'"),
        ("0 60 3 * * 1", "'60' .* is no minute; it may be 0 to 59"),
        ("0 0 3 L * *", "'L' .* is no day"),
        ("0 0 3 * * 1#2", "'1#2' .* is no weekday"),
        ("0 0 3 * * 7", "'7' .* is no weekday; it may be 0 to 6 or sun to sat"),
        ("0 0 3 * jam *", "'jam' .* did you mean jan"),
        ("0 0 3 5-1 * *", "holds no day"),
        ("0 0/0 3 * * *", "holds no minute"),
        ("0 0 3 ** * *", "'\\*\\*' .* is no day"),
        ("0 0 3 1, * *", "'' .* is no day"),
        ("0 0 3 31 2,4 *", "never starts a run"),
    ],
)
def test_nonsense_is_refused_with_what_would_fit(fields, reported):
    with pytest.raises(ConfigError, match=reported):
        Cron.of(fields)


def test_five_fields_that_make_no_sense_with_seconds_either_get_no_proposal():
    with pytest.raises(ConfigError) as refusal:
        Cron.of("99 3 * * 1")
    assert "did you mean" not in str(refusal.value)
