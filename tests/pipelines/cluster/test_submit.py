"""A study handed to a cluster: what is uploaded, what a person sees until it ends, and how it ends."""

import argparse
import io
import json
import os
import signal
import subprocess

import pytest
import yaml
from kfp_server import OVER, Play
from local_runs import PATIENCE_S, ROOT, SMOKE, TINY, command, environment, wait_until
from minio import Minio
from object_server import SECRET, FaultyWay, answering

from pipelines.__main__ import main
from pipelines.cluster import submit
from pipelines.cluster.client import connect
from pipelines.cluster.remote import RemoteRuns
from syntrial.errors import DataError
from syntrial.reporting import table
from syntrial.store import token
from syntrial.store.uris import Location
from tests.fake_scores import results_in

STUDY = ("--study", str(SMOKE), *TINY, "--gpus", "0")
NOBODY = {"host": "", "namespace": "", "token_file": "", "cookie_file": ""}  # the flags of whoever gives none
DIVIDE = "root.trial.split"


@pytest.fixture
def data(xrays):
    return ("--data", str(xrays))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A report's numbers."""
    return results_in(tmp_path_factory.mktemp("study"))


@pytest.fixture
def reported(kubeflow, results, tmp_path):
    """Runs of this Kubeflow leave a report in the store."""
    store = Minio(os.environ["MINIO_ENDPOINT"], "somebody", SECRET, secure=False)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")

    def left(run):
        if run.state == "SUCCEEDED":
            bucket, _, key = run.output("root.report").removeprefix("minio://").partition("/")
            for name in ("results.json", "report.html"):
                store.fput_object(bucket, f"{key}/{name}", str(path))

    kubeflow.on_look = left


# What is uploaded


def test_a_run_gets_the_code_the_arguments_and_the_account(kubeflow, data, capsys):
    assert main(["submit", *STUDY, *data, "--set", "side=64"]) == 0
    (run,) = kubeflow.runs.values()
    assert capsys.readouterr().out == f"{run.id}\n"
    assert run.made["runtime_config"]["parameters"]["side"] == 64
    assert run.made["runtime_config"]["parameters"]["data"].startswith("minio://syntrial/data/")
    assert run.made["service_account"] == "syntrial"
    (experiment,) = kubeflow.experiments.values()
    assert (experiment["display_name"], run.made["display_name"].rpartition("-")[0][:4]) == ("tiny", "tiny")


def test_fresh_writes_a_new_token_into_the_store_before_the_run(kubeflow, data):
    seen = [token.read(Location.of("minio://syntrial/checkpoints"))]
    for words in ((), ("--fresh",)):
        assert main(["submit", *STUDY, *data, *words]) == 0
        seen.append(token.read(Location.of("minio://syntrial/checkpoints")))
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("words", "missing"), [(["submit", *STUDY, "--dry-run"], "--wait"), (["status"], "name that run")], ids=str
)
def test_a_report_of_nothing_that_has_ended_is_refused(words, missing, data, capsys):
    assert main([*words, "--report", "somewhere"]) == 2
    printed = capsys.readouterr().err
    assert missing in printed and printed.count("\n") == 1


@pytest.mark.parametrize("pause", ["-1", "0", "nan", "1e9", "soon"])
def test_a_pause_that_is_none_is_refused(pause, capsys):
    assert main(["submit", "--every", pause]) == 2
    assert pause in capsys.readouterr().err


def test_the_same_code_is_uploaded_once_whatever_its_arguments(kubeflow, data):
    for words in ((), ("--set", "side=64", "--experiment", "another")):
        assert main(["submit", *STUDY, *data, *words]) == 0
    assert (kubeflow.uploads, len(kubeflow.runs), len(kubeflow.pipelines)) == (1, 2, 1)
    assert [one["display_name"] for one in kubeflow.experiments.values()] == ["tiny", "another"]


def test_a_graph_of_another_shape_is_another_version_of_the_same_pipeline(kubeflow, data, begin):
    begin()
    assert main(["submit", *STUDY, *data, "--set", "arms=[original, simple_gan]"]) == 0
    assert (kubeflow.uploads, len(kubeflow.pipelines)) == (2, 1)


def test_a_version_that_somebody_else_uploads_meanwhile_is_taken(kubeflow, begin):
    begin()
    version = dict(next(iter(kubeflow.versions.values())))
    kubeflow.versions.clear()

    def somebody(path):
        kubeflow.versions[version["pipeline_version_id"]] = version

    kubeflow.before["/apis/v2beta1/pipelines/upload_version"] = somebody
    assert begin().made["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]


def test_the_package_that_is_uploaded_holds_no_key(kubeflow, begin):
    begin()
    (version,) = kubeflow.versions.values()
    assert SECRET not in yaml.dump(version["pipeline_spec"])


def test_a_dry_run_asks_no_kubeflow_and_sends_nothing(kubeflow, data, monkeypatch, capsys):
    monkeypatch.setenv("MINIO_ENDPOINT", "127.0.0.1:1")
    assert main(["submit", *STUDY, *data, "--dry-run"]) == 0
    assert kubeflow.requests == []
    assert "minio://syntrial/data/" in capsys.readouterr().err


def test_a_dry_run_costs_nothing_that_it_cannot_see(kubeflow, data, capsys):
    assert main(["submit", *STUDY, *data]) == 0
    (run,) = kubeflow.runs.values()
    archive = run.made["runtime_config"]["parameters"]["data"]
    assert main(["submit", *STUDY, "--data", archive, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert f"depends on the number of images, which is unknown: the names in {archive} show none of " in shown.err
    assert " pods, without retries" in shown.out and "GPU" not in shown.out


@pytest.fixture
def archived(kubeflow):
    """What the boxes of this Kubeflow say is put into the store."""
    store = Minio(os.environ["MINIO_ENDPOINT"], "somebody", SECRET, secure=False)
    also = kubeflow.on_look or (lambda run: None)

    def left(run):
        also(run)
        for key, text in run.stored().items() if run.state in OVER else ():
            store.put_object("mlpipeline", key, io.BytesIO(text.encode()), len(text.encode()))

    kubeflow.on_look = left


# Until it ends


@pytest.fixture
def waited(begin):
    """Begins a run and waits for it: its exit code, and the run."""

    def wait(**more):
        run = begin()
        return submit.wait(RemoteRuns(connect(argparse.Namespace(**NOBODY))), run.shown, 0.01, **more), run

    return wait


def ends_after(looks):
    """Somebody cancels a run when it has been looked at so often."""
    seen = []

    def look(run):
        seen.append(run)
        if len(seen) == looks:
            run.cancel()

    return look


def test_with_wait_a_study_ends_in_its_table(reported, data, results, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["submit", *STUDY, *data, "--wait", "--every", "0.01"]) == 0
    assert capsys.readouterr().out.rstrip() == table.text(results, width=120).rstrip()


def test_each_box_is_told_of_as_it_begins_and_ends(reported, waited, capsys):
    assert waited()[0] == 0
    printed = capsys.readouterr().err.splitlines()
    ends, begins = (
        {line.split(": ")[0] for line in printed if f": {word}" in line} for word in ("done in 15 s", "running")
    )
    assert ends == begins and len(ends) == 5 + 2 * 3
    assert "held out / arms / original / train classifier" in ends


def test_a_box_from_the_cache_is_called_so(reported, kubeflow, waited, capsys):
    kubeflow.play = Play(cached=("root.ingest",))
    assert waited()[0] == 0
    assert "ingest images: from the cache\n" in capsys.readouterr().err


def test_the_whole_report_can_be_brought_here(reported, waited, tmp_path):
    assert waited(report=str(tmp_path / "report"))[0] == 0
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.html", "results.json"]


@pytest.mark.parametrize("stands", ["as a file", "below a file", "where nothing can be"])
def test_a_report_that_finds_no_room_is_refused_in_a_sentence(stands, reported, waited, tmp_path):
    file = tmp_path / "file"
    file.touch()
    folder = {"as a file": file, "below a file": file / "report", "where nothing can be": "/proc/report"}[stands]
    with pytest.raises(DataError, match=r"(?:file|report) cannot be written: [A-Z]"):
        waited(report=str(folder))


def test_where_the_store_is_out_of_reach_the_report_is_named(kubeflow, waited, monkeypatch, capsys):
    monkeypatch.delenv("MINIO_ENDPOINT")
    code, run = waited()
    printed = capsys.readouterr().err
    assert code == 0
    assert "the table cannot be read from here: minio:// needs MINIO_ENDPOINT" in printed
    assert run.output("root.report") in printed


@pytest.mark.parametrize("large", [{}, {"packed": True, "stored_log": True}], ids=["", "in a large workflow"])
def test_a_report_from_the_cache_is_found_where_it_was_made(large, reported, archived, kubeflow, waited, capsys):
    assert waited()[0] == 0
    first = capsys.readouterr().out
    kubeflow.play = Play(cached=("root.report",), **large)
    assert waited()[0] == 0
    assert capsys.readouterr().out == first


def test_a_report_of_a_run_that_is_deleted_is_said_to_be_gone(reported, kubeflow, waited, capsys):
    _, first = waited()
    kubeflow.play = Play(cached=("root.report",))
    del kubeflow.runs[first.id]
    assert waited()[0] == 0
    assert "the report is that of an earlier run, which Kubeflow no longer knows" in capsys.readouterr().err


def test_a_workflow_whose_nodes_are_compressed_is_read_too(reported, kubeflow, waited, capsys):
    kubeflow.play = Play(packed=True)
    assert waited()[0] == 0
    assert "report: done in 15 s" in capsys.readouterr().err


def test_a_box_that_finds_no_node_says_what_it_lacks(kubeflow, waited, capsys):
    kubeflow.play, kubeflow.on_look = Play(queued="root.ingest"), ends_after(9)
    waited()
    lines = [line for line in capsys.readouterr().err.splitlines() if "does not start" in line]
    assert lines == [
        "ingest images: does not start: Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    ]


# How it fails


def test_a_failing_run_ends_with_the_box_and_the_end_of_its_log(kubeflow, waited, capsys):
    log = "\n".join(f"line {number}" for number in range(100))
    kubeflow.play = Play(fails=DIVIDE, log=log, tries=3)
    assert waited()[0] == 1
    printed = capsys.readouterr().err.splitlines()
    assert "as printed / divide failed after 3 tries: main: Error (exit code 1)" in printed
    assert printed[-26:-1] == [f"    line {number}" for number in range(75, 100)]
    assert printed[-1].endswith(" failed")


def test_of_a_log_with_a_traceback_nothing_before_it_is_shown_and_nothing_of_the_engines(kubeflow, waited, capsys):
    engine = "I1123 09:27:13.200721      15 launcher_v2.go:867] Executing uploadOutputArtifacts attempt: 1"
    kubeflow.play = Play(fails=DIVIDE, log=f"inputs\nTraceback (most recent call last):\nKeyError: 7\n{engine}\n")
    waited()
    printed = capsys.readouterr().err
    assert "\n    Traceback (most recent call last):\n    KeyError: 7\nrun " in printed
    assert "inputs" not in printed


def test_what_a_box_was_told_is_not_what_it_said(kubeflow, waited, capsys):
    printed = '{\n    "inputs": {\n    },\n    "outputs": {}\n}\n'
    executor = "[KFP Executor 2026-11-23 12:52:30,456 INFO]: "
    kubeflow.play = Play(fails=DIVIDE, log=f"{executor}Looking\n{executor}Got executor_input:\n{printed}Killed\n")
    waited()
    assert "divide failed: main: Error (exit code 1)\n    Killed\nrun " in capsys.readouterr().err


def test_a_box_that_failed_by_somebodys_choice_says_so_in_a_sentence(kubeflow, waited, capsys):
    log = "Traceback (most recent call last):\nsyntrial.errors.LeakError: patient 3 is in train and in test\nmore"
    kubeflow.play = Play(fails=DIVIDE, log=log)
    assert waited()[0] == 1
    printed = capsys.readouterr().err
    assert "as printed / divide failed: patient 3 is in train and in test\n" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("play", "printed"),
    [
        (Play(fails=DIVIDE, log="the last words", stored_log=True), "    the last words\n"),
        (Play(fails=DIVIDE, log=None), "    (Kubeflow has no log of it)\n"),
        (Play(broken="no such service account"), "the workflow did: root-driver: no such service account\n"),
    ],
    ids=["the pod is gone", "no log anywhere", "before the first box"],
)
def test_whatever_is_left_of_a_failure_is_shown(play, printed, kubeflow, waited, capsys):
    kubeflow.play = play
    assert waited()[0] == 1
    assert printed in capsys.readouterr().err


def test_a_log_that_only_the_store_has_is_read_there(kubeflow, archived, waited, capsys):
    kubeflow.play = Play(fails=DIVIDE, log="the last words", stored_log=True, packed=True)
    assert waited()[0] == 1
    assert "    the last words\n" in capsys.readouterr().err


def test_a_store_that_is_out_of_reach_is_waited_for_once_however_many_boxes_failed(kubeflow, waited, monkeypatch):
    kubeflow.play = Play(fails=DIVIDE, log="the last words", stored_log=True, packed=True)
    _, run = waited()
    runs = RemoteRuns(connect(argparse.Namespace(**NOBODY)))
    (box,) = runs.look(run.id).failed
    with answering(403, "<Error><Code>AccessDenied</Code></Error>") as refusing:
        way = FaultyWay(refusing)
        monkeypatch.setenv("MINIO_ENDPOINT", way.start())
        assert [runs.log(runs.look(run.id), box.pod) for _ in range(3)] == [[], [], []]
        way.stop()
    assert len(way.gets()) == 1


@pytest.mark.parametrize("hasty", [False, True])
def test_a_run_that_is_canceled_meanwhile_is_waited_for_no_longer(hasty, kubeflow, waited, capsys):
    kubeflow.play, kubeflow.on_look = Play(hasty=hasty), ends_after(3)
    assert waited()[0] == 1
    printed = capsys.readouterr().err
    assert printed.rstrip().endswith(" canceled")
    assert "exceeded its deadline" not in printed


def test_a_kubeflow_that_is_away_for_a_while_is_waited_for(reported, kubeflow, waited, capsys):
    report = kubeflow.on_look

    def silent_once(run):
        if run.done == 2:
            kubeflow.refuse["GET", f"/apis/v2beta1/runs/{run.id}"] = 503
        report(run)

    kubeflow.on_look = silent_once
    assert waited()[0] == 0
    assert "the run itself continues" in capsys.readouterr().err


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_end_it(kubeflow, data):
    kubeflow.play = Play(queued="root.ingest")
    words = ("submit", *STUDY, *data, "--wait", "--every", "0.05")
    with subprocess.Popen(
        command(*words), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as waiting:
        try:
            wait_until(lambda: any(path.startswith("/apis/v1beta1/runs/") for _, path in kubeflow.requests))
            waiting.send_signal(signal.SIGINT)
            out, printed = waiting.communicate(timeout=PATIENCE_S)
        finally:
            waiting.kill()
    (run,) = kubeflow.runs.values()
    assert (waiting.returncode, out, run.state) == (130, "", "RUNNING")
    name = run.made["display_name"]
    assert printed.splitlines()[-1] == (f"the run continues; syntrial status {name} shows it, cancel {name} ends it")


# What a person can mend


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("--data", "not/there"), "there is no"),
        (("--set", "classes=[normal, measles]"), "has no image of the class 'measles'"),
        (("--place", "not/there.yaml"), "there is no place file"),
        (("--study", "not/there.yaml"), "there is no study file"),
    ],
)
def test_a_mistake_costs_one_sentence_and_starts_nothing(words, printed, kubeflow, data, capsys):
    assert main(["submit", *STUDY, *data, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and printed in line
    assert not kubeflow.runs
