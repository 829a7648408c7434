"""A study on one machine: what a person gets, what is done again and what is not, and how it goes on after a kill."""

import contextlib
import importlib
import json
import os
import pkgutil
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
from pathlib import Path

import local_runs
import pytest
from local_runs import PATIENCE_S, ROOT, SMALL, SMOKE, TINY, command, environment, processes, wait_until

import syntrial
from pipelines.__main__ import main
from pipelines.local.run import _explain, _in_store, collect
from pipelines.plan import Counts, guessed, planned
from syntrial.config import load_study
from syntrial.errors import SyntrialError

FIGURES = [f"figure-{number:02d}" for number in range(4, 12)]


# What a person gets


def test_the_smoke_study_ends_well(smoke):
    assert smoke.code == 0, smoke.done.stderr[-3000:]
    assert " from the cache" in smoke.done.stderr


@pytest.mark.parametrize("name", ["report.html", "table.md", "table.csv", "results.json", "summary.md", "run.json"])
def test_a_run_leaves_its(name, smoke):
    assert (smoke.folder / name).stat().st_size > 100


def test_a_run_leaves_the_papers_eight_figures_as_pictures(smoke):
    names = [path.name for path in (smoke.folder / "figures").glob("*.png")]
    assert not [figure for figure in FIGURES if not any(name.startswith(figure) for name in names)]


def test_a_run_leaves_what_every_box_made(smoke):
    made = [
        json.loads(path.read_text(encoding="utf-8"))["verb"] for path in smoke.folder.glob("artifacts/*/about.json")
    ]
    study = load_study(SMOKE)
    # The second test set and the faces' images are there; the report itself lies above.
    expected = {
        "train_classifier": 2 * len(study.arms) + 1,
        "train_generator": 9,
        "synthesize": 8,
        "pool": 2,
        "split": 3,
    }
    assert {verb: made.count(verb) for verb in expected} == expected
    assert made.count("ingest") >= 3


def test_without_generated_images_the_pools_are_there_beside_the_divisions(tiny):
    made = [path.name.rpartition("-")[0] for path in tiny.folder.glob("artifacts/*")]
    for verb in ("split", "pool"):
        assert {name for name in made if verb in name} == {f"as_printed-{verb}-32px", f"held_out-{verb}-32px"}


def test_what_a_run_leaves_of_the_cache_cannot_be_written_by_mistake(tiny):
    files = [path for path in tiny.folder.glob("artifacts/*/*") if path.is_file()]
    assert files and not [path for path in files if stat.S_IMODE(path.stat().st_mode) & 0o222]


def written(folder, digest, *parents):
    """What a verb says of a folder it has written."""
    folder.mkdir(parents=True)
    about = {
        "verb": "split",
        "digest": digest,
        "side": 32,
        "parents": [{"verb": "split", "digest": one} for one in parents],
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def test_a_draft_that_a_killed_box_left_is_never_taken_for_whole(tmp_path):
    written(tmp_path / "report", "0" * 8, "a" * 8, "b" * 8)
    written(tmp_path / "artifacts" / "box" / "images", "a" * 8)
    written(tmp_path / "artifacts" / "box" / ".images.ak2vrgrf", "b" * 8)
    collect(tmp_path / "report", tmp_path / "artifacts", tmp_path / "into")
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["split-32px-aaaaaaaa"]


def test_what_killed_runs_left_in_the_cache_is_removed_by_the_next_that_is_alone_there(tmp_path):
    draft = tmp_path / "store" / "artifacts" / "box" / ".images.ak2vrgrf"
    draft.mkdir(parents=True)
    with _in_store(tmp_path / "store"):
        assert not draft.exists()
        draft.mkdir()
        with _in_store(tmp_path / "store"):
            assert draft.exists()


def test_the_table_is_printed_with_the_papers_figures_beside_ours(smoke):
    assert "D4 original + transfer GAN" in smoke.done.stdout
    assert "0.9786" in smoke.done.stdout
    assert "report.html has the whole report" in smoke.done.stdout


def test_the_boxes_that_run_are_those_that_were_planned(smoke):
    study = load_study(SMOKE)
    counts = Counts({label: 1 for label in study.classes}, faces=1)
    assert smoke.boxes == sorted(box.name for box in planned(study, counts, guessed(study)))


def test_the_results_name_no_place_and_no_time(smoke):
    assert str(smoke.folder.parents[1]) not in smoke.results.decode()
    assert smoke.folder.name not in smoke.results.decode()


# What is done again, and what is not


def test_with_nothing_changed_no_box_runs_and_the_results_are_equal(smoke):
    second = local_runs.run(smoke.folder.parents[1])
    assert (second.code, second.boxes, second.results) == (0, [], smoke.results)
    assert second.folder != smoke.folder
    assert (second.folder / "report.html").is_file()


def test_a_changed_image_is_never_served_stale(tiny, again, xrays, tmp_path):
    changed = shutil.copytree(xrays, tmp_path / "xrays")
    first, second = sorted((changed / "normal").iterdir())[:2]
    shutil.copyfile(ROOT / "data" / "sample" / "xray" / "normal" / first.name, second)
    first.unlink()
    after = local_runs.run(again(tiny), "--data", changed, *TINY)
    verbs = {name.split()[0] for name in after.boxes}
    assert verbs == {"ingest", "split", "pool", "train_classifier", "report"}
    assert after.results != tiny.results


def test_a_setting_of_the_classifier_redoes_no_generator(small, again, xrays):
    after = local_runs.run(again(small), "--data", xrays, *SMALL, "--set", "classifier.dropout=0.1")
    assert {name.split()[0] for name in after.boxes} == {"train_classifier", "report"}
    assert after.results != small.results


@pytest.fixture
def checkout(tmp_path):
    """A copy of the code, to be changed."""
    folder = tmp_path / "checkout"
    for name in ("src", "components", "pipelines", "studies"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize(
    ("module", "redone"),
    [("judging/verdict", {"report"}), ("train_classifier", {"train_classifier", "report"})],
    ids=["report", "classifier"],
)
def test_changed_code_redoes_what_it_made_and_what_follows(module, redone, small, again, xrays, checkout):
    with open(checkout / "src" / "syntrial" / f"{module}.py", "a", encoding="utf-8") as file:
        file.write("\nchanged = True\n")
    faces = ("--faces", ROOT / "data" / "sample" / "faces")
    after = local_runs.run(again(small), "--data", xrays, *faces, *SMALL, checkout=checkout)
    assert {name.split()[0] for name in after.boxes} == redone
    assert after.results == small.results


# How it goes on


@pytest.fixture
def start(tmp_path):
    """Starts a run that is not waited for: its process and its folder. What it says goes to said.txt."""
    runs, started = tmp_path / "runs", []

    def begin(*words, **own):
        before = set(runs.glob("*/2*"))
        with open(tmp_path / "said.txt", "ab") as said:
            line = command("run", "--study", SMOKE, "--runs", runs, *words)
            started.append(subprocess.Popen(line, cwd=ROOT, env=environment(**own), stdout=said, stderr=said))
        return started[-1], wait_until(lambda: next(iter({*runs.glob("*/2*")} - before), None))

    yield begin
    for process in started:
        process.kill()
        process.wait()


def learning(folder: Path) -> list[int]:
    """Processes of the boxes of a run that train right now."""
    paths = {path: path.read_text(encoding="utf-8") for path in (folder / "progress").glob("train_*.jsonl")}
    return [int(path.stem.rpartition("-")[2]) for path, text in paths.items() if text and '"event": "end"' not in text]


def test_killed_again_and_again_a_study_ends_where_an_uncut_one_ends(small, xrays, start, tmp_path):
    moments, often = random.Random(5), {"SYNTRIAL_CHECKPOINT_EVERY_S": "0"}
    words = ("--data", xrays, *SMALL)
    whole, folder = start(*words, **often)
    wait_until(lambda: learning(folder))
    time.sleep(moments.uniform(0, 1))
    whole.kill()
    wait_until(lambda: not processes(folder))
    second, folder = start(*words, **often)
    (box, *_) = wait_until(lambda: learning(folder))
    time.sleep(moments.uniform(0, 1))
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.kill(box, signal.SIGKILL)
    assert second.wait(PATIENCE_S) in (0, 1)
    last = local_runs.run(tmp_path / "runs", *words, **often)
    assert last.code == 0, last.done.stderr[-3000:]
    assert last.results == small.results


def test_ctrl_c_says_how_to_go_on_and_leaves_neither_processes_nor_scratch(xrays, start, tmp_path):
    words = ("--data", xrays, *SMALL, "--set", "generators.simple.epochs=100000")
    (tmp_path / "tmp").mkdir()
    process, folder = start(*words, TMPDIR=str(tmp_path / "tmp"))
    wait_until(lambda: learning(folder))
    assert [*(tmp_path / "tmp").iterdir()]
    second = local_runs.run(tmp_path / "runs", *words)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert not processes(folder) and not [*(tmp_path / "tmp").iterdir()]
    said = (tmp_path / "said.txt").read_text(encoding="utf-8")
    assert "the same command continues from the last checkpoint" in said
    assert "Traceback" not in said
    assert (second.code, len(second.errors)) == (2, 1)
    assert "in use by another run of this study" in second.errors[0]


# The messages after a mistake


def errors():
    """Every class whose sentence a person can act on."""
    for module in pkgutil.walk_packages(syntrial.__path__, "syntrial."):
        importlib.import_module(module.name)
    classes = [SyntrialError]
    for one in classes:
        classes += [other for other in one.__subclasses__() if other.__module__.startswith("syntrial.")]
    return classes


@pytest.mark.parametrize("error", errors(), ids=lambda error: error.__name__)
def test_the_sentence_of_every_error_is_found_in_the_log(error, tmp_path):
    reported = traceback.format_exception_only(error.__new__(error, "one sentence"))
    (tmp_path / "engine.log").write_text("".join(["INFO: started\n", *reported, "RuntimeError: a box failed\n"]))
    with pytest.raises(SyntrialError, match=r"^one sentence$"):
        _explain(tmp_path, tmp_path / "store", 1)


def test_a_damaged_cache_is_told_with_the_way_out(tmp_path):
    (tmp_path / "engine.log").write_text(f"syntrial.errors.DataError: {tmp_path}/store/a/images is not whole\n")
    with pytest.raises(SyntrialError, match=r"is not whole; delete .*/store and start again"):
        _explain(tmp_path, tmp_path / "store", 1)


def test_a_full_disk_is_one_sentence(xrays, tmp_path):
    words = command("run", "--study", SMOKE, "--runs", tmp_path, "--data", xrays, *TINY, "--set", "side=64")
    full = ["bash", "-c", 'ulimit -f 150 && exec "$@"', "bash", *words]  # 48 images of 64 px take 192 KiB
    done = subprocess.run(full, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr[-3000:]
    assert "has no space left (File too large); free some and start again" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "line",
    ["    Killed", "    torch.OutOfMemoryError: CUDA out of memory.", "RuntimeError: can't allocate memory: 9 bytes"],
)
def test_a_box_without_memory_is_said_to_be_one(line, tmp_path, capsys):
    (tmp_path / "engine.log").write_text(f"train_classifier: 8 images\n{line}\nTraceback\nRuntimeError: a box failed\n")
    assert _explain(tmp_path, tmp_path / "store", 1) == 1
    reported = capsys.readouterr().err
    assert "ran out of memory" in reported and reported.count("\n") == 1


def test_a_full_disk_that_the_engine_meets_is_one_sentence_as_well(tmp_path):
    (tmp_path / "engine.log").write_text("Traceback\nOSError: [Errno 28] No space left on device: 'cache.json'\n")
    with pytest.raises(SyntrialError, match=r"no space left .*cache\.json"):
        _explain(tmp_path, tmp_path / "store", 1)


THREADS = """
import os, torch
from pipelines.plan import box_threads, measure
from syntrial.config import load_study
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
measure(load_study("studies/smoke.yaml"), seconds=0.01)
print(box_threads(), torch.get_num_threads())
"""


def test_a_dry_run_measures_with_the_threads_that_a_box_gets(tmp_path):
    own = environment(OMP_NUM_THREADS="4", PYTHONPATH=f"{ROOT}/src:{ROOT}")
    for given, used in (("", "1 1"), ("3", "3 3")):
        done = subprocess.run(
            [sys.executable, "-c", THREADS],
            cwd=ROOT,
            env={**own, "SYNTRIAL_THREADS": given},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == used, done.stderr


MISTAKES = {
    "no such study": (["--study", "studies/no.yaml"], "there is no study file studies/no.yaml"),
    "a misspelt setting": (["--set", "generators.simple.epoch=5"], "did you mean 'epochs'?"),
    "a change that is none": (["--set", "side"], "is not of the form NAME=VALUE"),
    "a contradiction": (["--set", "arms=[simple_gan]"], "arms lacks 'original'"),
    "no such data": (["--data", "data/sample/xrays"], "did you mean"),
    "no such faces": (["--faces", "nowhere"], "/nowhere"),
    "no such second test set": (["--external", "nowhere"], "/nowhere"),
    "a class that is not there": (["--set", "classes=[normal, covid]"], "no image of the class 'covid'"),
    "a broken manifest": (["--data", "MANIFEST"], "needs the columns file and label"),
    "a place that takes no folder": (["--runs", "MANIFEST/runs"], "give --runs another folder"),
    "a place among the images": (["--data", "BAD", "--runs", "BAD/normal/runs"], "is inside --data"),
    "no data at all": (["--data", ""], "--data is empty"),
    "no study at all": (["--study", ""], "--study is empty"),
    "no folder at all": (["--runs", ""], "--runs is empty"),
    "a scheme that is none": (["--data", "ftp://somewhere/xrays"], "ftp"),
    "images that are all bad": (["--data", "BAD"], "no usable image"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(mistake, tmp_path, monkeypatch, capfd):
    (tmp_path / "MANIFEST").write_text("path,diagnosis\na.png,normal\n", encoding="utf-8")
    for label in ("normal", "pneumonia"):
        (tmp_path / "BAD" / label).mkdir(parents=True)
        (tmp_path / "BAD" / label / "a.png").write_bytes(b"no image")
    words, sentence = MISTAKES[mistake]
    places = {name: str(tmp_path / name) for name in ("MANIFEST", "BAD")}
    words = [re.sub("^(MANIFEST|BAD)(?=/|$)", lambda name: places[name[0]], word) for word in words]
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    runs = [] if "--runs" in words else ["--runs", str(tmp_path / "runs")]
    study = [] if "--study" in words else ["--study", str(SMOKE)]
    assert main(["run", *study, *runs, *words]) == 2
    reported = capfd.readouterr().err
    assert [line for line in reported.splitlines() if line.startswith("error: ")] == reported.splitlines()[-1:]
    assert sentence in reported.splitlines()[-1]
    assert "Traceback" not in reported


def test_a_dry_run_says_what_would_run_and_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["run", "--study", str(SMOKE), "--runs", str(tmp_path / "runs"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    boxes = planned(load_study(SMOKE), Counts({"normal": 201, "pneumonia": 200}, faces=310), guessed(load_study(SMOKE)))
    for line, box in zip(lines[1:], boxes, strict=False):
        assert line.startswith(box.name) and f"{box.units:,}" in line
    assert lines[-1].startswith(f"{len(boxes)} boxes; ") and " minute" in lines[-1]
    assert not (tmp_path / "runs").exists()
