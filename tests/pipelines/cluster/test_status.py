"""What runs on a cluster, by whatever name a person gives it, and an end to it."""

import os
import subprocess

import pytest
from kfp_server import OVER, Play
from local_runs import ROOT, SMALL, SMOKE, command, environment, settings

from pipelines.__main__ import main


def test_the_last_runs_are_listed_newest_first(kubeflow, begin, capsys):
    first, second = begin(), begin()
    second.made["display_name"] = "another"
    kubeflow.get_run(first.id, {}, b"")
    assert main(["status"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["RUN", "NAME", "STATE"]
    assert [line.split()[0] for line in lines] == [second.id[:8], first.id[:8]]
    assert [line.split()[2] for line in lines] == ["pending", "running"]


def test_runs_of_other_pipelines_are_not_listed(kubeflow, begin, capsys):
    begin().made["pipeline_version_reference"] = {"pipeline_id": "another"}
    assert main(["status"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_runs_can_be_listed_by_experiment(kubeflow, begin, capsys):
    begin()
    kubeflow.create_experiment({}, b'{"display_name": "empty"}')
    assert main(["status", "--experiment", "empty"]) == 0
    assert main(["status", "--experiment", "tiny"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2


@pytest.mark.parametrize("word", ["id", "prefix", "name"])
def test_a_run_is_found_by(word, kubeflow, begin, capsys):
    begin(), begin()
    run = begin()
    run.made["display_name"] = "the one"
    assert main(["status", {"id": run.id, "prefix": run.id[:8], "name": "the one"}[word]]) == 0
    assert capsys.readouterr().out.startswith(f"the one ({run.id}): running, 0 of 11 boxes\n")


def test_of_runs_with_one_name_the_newest_is_meant(kubeflow, begin, capsys):
    runs = [begin(), begin()]
    for run in runs:
        run.made["display_name"] = "tiny"
    assert main(["status", "tiny"]) == 0
    assert runs[1].id in capsys.readouterr().out


def test_a_prefix_of_several_ids_is_not_guessed_at(kubeflow, begin, capsys):
    for tail in ("0", "1"):
        run = begin()
        del kubeflow.runs[run.id]
        run.id = f"aaaa{run.id[4:-1]}{tail}"
        kubeflow.runs[run.id] = run
    assert main(["status", "aaaa"]) == 2
    assert "give more of it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "cancel"])
def test_an_unknown_run_is_told_with_the_nearest_known(command, kubeflow, begin, capsys):
    begin().made["display_name"] = "tiny-2026-11-23_090000"
    assert main([command, "tiny-2026-11-23_09000"]) == 2
    assert capsys.readouterr().err.endswith("did you mean 'tiny-2026-11-23_090000'?\n")


def test_a_runs_boxes_are_shown_with_their_states(kubeflow, begin, capsys):
    kubeflow.play = Play(cached=("root.ingest",))
    run = begin()
    for _ in range(4):
        run.go_on()
    assert main(["status", run.id]) == 0
    reported = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert reported[2:5] == ["done settle the study 15 s", "done look at the data 15 s", "cached ingest images"]
    assert reported[5] == "done ingest second test set 15 s"
    assert reported[6].startswith("running as printed / divide since 03:01:25 (")
    assert reported[-1] == "waiting report"


def test_one_generator_of_all_classes_is_shown_once(kubeflow, xrays, capsys):
    words = ("--data", str(xrays), *SMALL, *settings("generators.simple.conditional=true"))
    assert main(["submit", "--study", str(SMOKE), *words]) == 0
    (run,) = kubeflow.runs.values()
    while run.state not in OVER:
        run.go_on()
    capsys.readouterr()
    assert main(["status", run.id]) == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in told if "train simple generator" in line] == [
        f"done {protocol} / simple generators / * / train simple generator 15 s"
        for protocol in ("as printed", "held out")
    ]


def test_a_failed_run_shows_the_end_of_the_log_too(kubeflow, begin, capsys):
    kubeflow.play = Play(fails="root.ingest", log="the last words")
    run = begin()
    for _ in range(5):
        run.go_on()
    assert main(["status", run.id]) == 0
    reported = capsys.readouterr()
    assert "failed     ingest images" in reported.out and "left out   report" in reported.out
    assert "    the last words\n" in reported.err


def test_a_report_is_not_brought_before_there_is_one(kubeflow, begin, tmp_path, capsys):
    assert main(["status", begin().id, "--report", str(tmp_path)]) == 2
    assert "has no report yet" in capsys.readouterr().err


def test_a_run_is_ended_once(kubeflow, begin, capsys):
    run = begin()
    run.go_on()
    assert main(["cancel", run.id[:8]]) == 0
    assert main(["cancel", run.id[:8]]) == 0
    assert run.state == "CANCELING"
    run.go_on()
    assert main(["status"]) == 0
    assert " canceled " in capsys.readouterr().out


def test_a_run_that_is_over_cannot_be_ended(kubeflow, begin, capsys):
    run = begin()
    run.state = "SUCCEEDED"
    assert main(["cancel", run.id]) == 2
    assert "has succeeded; there is nothing to end" in capsys.readouterr().err


def test_a_reader_who_has_seen_enough_is_no_error(kubeflow, begin):
    begin()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command("status"), cwd=ROOT, env=environment(), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
