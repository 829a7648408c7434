"""A schedule is its name: set again it is changed, never doubled, and no run that has begun is lost with it."""

import argparse

import pytest
from local_runs import SMOKE, TINY

from pipelines.__main__ import main
from pipelines.cluster import schedule
from pipelines.cluster.client import AwayError, connect
from pipelines.cluster.cron import Cron

STUDY = ("--study", str(SMOKE), *TINY, "--gpus", "0")
NOBODY = {"host": "", "namespace": "", "token_file": "", "cookie_file": "", "experiment": ""}


@pytest.fixture
def set_to(kubeflow, tiny_study):
    """Sets the schedule `tiny`, as `schedule --cron` does with a study that is compiled already."""

    def put(cron="0 0 3 * * 1", name=""):
        flags = argparse.Namespace(**NOBODY, cron=cron, name=name)
        return schedule.put(connect(flags), tiny_study, flags, Cron.of(cron))

    return put


def crons(kubeflow):
    return [one["trigger"]["cron_schedule"]["cron"] for one in kubeflow.schedules.values()]


def test_a_schedule_bears_the_studys_name_and_says_when_it_comes(kubeflow, xrays, capsys):
    assert main(["schedule", *STUDY, "--data", str(xrays), "--cron", "0 0  3 * * MON"]) == 0
    (made,) = kubeflow.schedules.values()
    assert (made["display_name"], made["mode"], made["no_catchup"]) == ("tiny", "ENABLE", True)
    assert (made["max_concurrency"], made["service_account"]) == ("1", "syntrial")
    assert made["pipeline_version_reference"]["pipeline_version_id"] in kubeflow.versions
    assert made["runtime_config"]["parameters"]["data"].startswith("minio://")
    then = Cron.of("0 0 3 * * 1").after(schedule.datetime.now(schedule.UTC))
    assert f"schedule tiny: new, next {then:%a %Y-%m-%d} 03:00:00 UTC, in " in capsys.readouterr().err


def test_the_same_again_changes_nothing(kubeflow, set_to, capsys):
    set_to()
    before = dict(kubeflow.schedules)
    set_to()
    assert kubeflow.schedules == before
    assert "schedule tiny: unchanged, next " in capsys.readouterr().err


def test_the_same_name_with_another_time_is_one_schedule(kubeflow, set_to, capsys):
    set_to()
    set_to("0 30 4 * * *")
    assert crons(kubeflow) == ["0 30 4 * * *"]
    assert "schedule tiny: changed, next " in capsys.readouterr().err


def test_another_name_is_another_schedule(kubeflow, set_to):
    set_to()
    set_to(name="nightly")
    assert [one["display_name"] for one in kubeflow.schedules.values()] == ["tiny", "nightly"]


def test_a_schedule_of_another_pipeline_is_left_alone_whatever_its_name(kubeflow, set_to, capsys):
    set_to()
    (ours,) = kubeflow.schedules.values()
    theirs = {**ours, "recurring_run_id": "x", "pipeline_version_reference": {"pipeline_id": "another"}}
    kubeflow.schedules["x"] = theirs
    set_to("0 30 4 * * *")
    assert main(["schedule", "--remove", "tiny"]) == 0
    assert kubeflow.schedules == {"x": theirs}


def test_at_no_moment_is_there_none_and_what_failed_is_made_good_by_the_next_call(kubeflow, set_to):
    set_to()
    (before,) = kubeflow.schedules
    kubeflow.refuse["DELETE", f"/apis/v2beta1/recurringruns/{before}"] = 503
    with pytest.raises(AwayError):
        set_to("0 30 4 * * *")
    assert sorted(crons(kubeflow)) == ["0 0 3 * * 1", "0 30 4 * * *"]
    set_to("0 30 4 * * *")
    assert crons(kubeflow) == ["0 30 4 * * *"]


def test_a_run_that_has_begun_outlives_the_change_and_the_end_of_its_schedule(kubeflow, set_to):
    set_to()
    run = kubeflow.fire(next(iter(kubeflow.schedules)))
    set_to("0 30 4 * * *")
    later = kubeflow.fire(next(iter(kubeflow.schedules)))
    assert main(["schedule", "--remove", "tiny"]) == 0
    assert (kubeflow.schedules, set(kubeflow.runs)) == ({}, {run.id, later.id})


def test_a_paused_schedule_stays_paused_when_it_is_changed_until_it_is_resumed(kubeflow, set_to, capsys):
    set_to()
    assert main(["schedule", "--pause", "tiny"]) == 0
    set_to("0 30 4 * * *")
    assert main(["schedule", "--list"]) == 0
    assert [one["mode"] for one in kubeflow.schedules.values()] == ["DISABLE"]
    assert "0 30 4 * * *            paused" in capsys.readouterr().out
    assert main(["schedule", "--resume", "tiny"]) == 0
    assert [one["mode"] for one in kubeflow.schedules.values()] == ["ENABLE"]
    assert "schedule tiny: next " in capsys.readouterr().err


def test_the_list_shows_what_was_made_by_hand_too(kubeflow, set_to, capsys):
    set_to()
    (made,) = kubeflow.schedules.values()
    made["trigger"] = {"periodic_schedule": {"interval_second": "3600"}}
    assert main(["schedule", "--list"]) == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["--pause", "--resume", "--remove"])
def test_an_unknown_schedule_is_told_with_the_nearest_known(what, kubeflow, set_to, capsys):
    assert main(["schedule", what, "tiny"]) == 2
    set_to()
    assert main(["schedule", what, "tony"]) == 2
    reported = capsys.readouterr().err
    assert "has no schedule 'tiny'; it has none yet\n" in reported
    assert reported.endswith("has no schedule 'tony'; did you mean 'tiny'?\n")


def test_five_fields_are_refused_before_anything_is_sent(kubeflow, xrays, capsys):
    assert main(["schedule", *STUDY, "--data", str(xrays), "--cron", "0 3 * * 1"]) == 2
    assert kubeflow.requests == []
    assert "did you mean '0 0 3 * * 1'?" in capsys.readouterr().err
