"""Each verb by hand: from sample X-rays to a report through `syntrial`, and the message after a mistake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from syntrial import __version__
from syntrial.cli import main
from syntrial.digest import digest
from syntrial.imageset import ImageSet
from syntrial.training.checkpoint import Checkpoints

ROOT = Path(__file__).parents[1]
VERBS = (
    "digest",
    "ingest",
    "split",
    "train-generator",
    "synthesize",
    "pool",
    "train-classifier",
    "score",
    "report",
    "export",
    "prune",
)
CLASSES, ARMS = ("normal", "pneumonia"), ("original", "simple_gan")
TINY = "generators.all={width: 4, latent: 8, batch: 8, epochs: 1, collapse_below: 0}"
SETTINGS = (
    "--set",
    TINY,
    "--set",
    "seeds=[0]",
    "--set",
    "classifier={width: 4, epochs: 1}",
    "--set",
    "side=32",
    "--set",
    "split={val_share: 0.3, test_share: 0.3}",
)
STUDY = (
    *SETTINGS,
    "--set",
    "images_per_class=5",
    "--set",
    "arms=[original, simple_gan]",
    "--set",
    "report.resamples=200",
    "--set",
    "name=by_hand",
)


def syntrial(*words, **environment):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "syntrial.cli", *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """Forty sample X-rays in folders by class, and six faces."""
    folder = tmp_path_factory.mktemp("raw")
    for label in CLASSES:
        (folder / "xray" / label).mkdir(parents=True)
        for path in sorted((ROOT / "data" / "sample" / "xray" / label).glob("*.png"))[:20]:
            (folder / "xray" / label / path.name).symlink_to(path)
    (folder / "faces").mkdir()
    for path in sorted((ROOT / "data" / "sample" / "faces").glob("*.png"))[:6]:
        (folder / "faces" / path.name).symlink_to(path)
    return folder


def by_hand(verb, *words):
    used = {"report": STUDY, "export": ()}.get(verb, SETTINGS)
    assert main([verb, *used, *map(str, words)]) == 0


def trial(home, protocol):
    """All boxes of one protocol; what they write lies in `home` under the protocol's name."""
    parts, pooled = home / f"{protocol} parts", home / f"{protocol} pool"
    by_hand("split", home / "images", parts, "--protocol", protocol)
    for label in CLASSES:
        generator = home / f"{protocol} {label} generator"
        by_hand("train-generator", parts, generator, "--kind", "simple", "--label", label)
        by_hand("synthesize", generator, home / f"{protocol} {label} drawn", "--count", 5)
    by_hand("pool", parts, pooled, "--synthetic", *(home / f"{protocol} {label} drawn" for label in CLASSES))
    for arm in ARMS:
        by_hand("train-classifier", pooled, home / f"{protocol} {arm}", "--arm", arm)


@pytest.fixture(scope="session", autouse=True)
def checkpoints(tmp_path_factory):
    """Not those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as places:
        places.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path_factory.mktemp("checkpoints")))
        yield


@pytest.fixture(scope="session")
def chain(raw, tmp_path_factory):
    """The folder in which all verbs have worked, one after the other, in the order of a study."""
    home = tmp_path_factory.mktemp("by hand")
    by_hand("ingest", raw / "xray", home / "images")
    by_hand("ingest", raw / "faces", home / "faces", "--classes", "faces", "--name", "faces")
    by_hand("train-generator", home / "faces", home / "faces generator", "--kind", "faces", "--label", "faces")
    for protocol in ("as_printed", "held_out"):
        trial(home, protocol)
    start = ("--kind", "transfer", "--label", "normal", "--start", home / "faces generator")
    by_hand("train-generator", home / "held_out parts", home / "transfer", *start)
    printed = (
        "--as-printed",
        *(home / f"as_printed {arm}" for arm in ARMS),
        "--as-printed-images",
        home / "as_printed pool",
    )
    held = ("--held-out", *(home / f"held_out {arm}" for arm in ARMS), "--held-out-images", home / "held_out pool")
    by_hand("report", home / "report", *printed, *held)
    by_hand("export", home / "held_out pool", home / "pngs")
    return home


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_takes(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: syntrial {verb}" in capsys.readouterr().out


def test_the_version_is_the_packages():
    assert syntrial("--version").stdout == f"syntrial {__version__}\n"


HELP = """
import sys
from syntrial.cli import main
try:
    main(["--help"])
finally:
    print({"torch", "yaml", "numpy"} & {*sys.modules})
"""


def test_help_needs_neither_torch_nor_a_study():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", HELP], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_the_verbs_by_hand_lead_to_a_report(chain):
    results = json.loads((chain / "report" / "results.json").read_text(encoding="utf-8"))
    assert results["study"] == "by_hand"
    assert results["arms"] == ["original", "simple_gan"]
    assert (chain / "report" / "report.html").is_file()


def test_a_digest_by_hand_is_that_of_the_graph(chain, capsys):
    assert main(["digest", str(chain / "images"), str(chain / "faces")]) == 0
    places = [str(chain / name) for name in ("images", "faces")]
    expected = [f"{found} {place}" for found, place in zip(digest(*places), places, strict=True)]
    assert capsys.readouterr().out.splitlines() == expected


def test_a_transfer_by_hand_has_seen_the_faces(chain):
    about = json.loads((chain / "transfer" / "about.json").read_text(encoding="utf-8"))
    assert about["started_from"] == "faces/faces"


def test_a_verbs_numbers_are_lines_of_a_name_and_a_value(chain, capsys):
    assert main(["split", str(chain / "images"), str(chain / "again"), "--protocol", "as_printed"]) == 0
    assert capsys.readouterr().out == "train_images 40\n"


def test_the_settings_are_those_of_the_study_with_the_changes_on_top(chain, raw):
    words = ["ingest", str(raw / "xray"), str(chain / "smoke"), "--study", str(ROOT / "studies" / "smoke.yaml")]
    assert main([*words, "--set", "ingest.fit=pad"]) == 0
    smoke = ImageSet.open(chain / "smoke")
    assert (smoke.side, smoke.about["config"]["fit"]) == (32, "pad")
    assert smoke.about["config"]["group_pattern"] != ""


def test_an_exported_set_has_a_folder_for_each_part_source_and_class(chain):
    pool = ImageSet.open(chain / "held_out pool")
    pngs = sorted((chain / "pngs").rglob("*.png"))
    assert len(pngs) == len(pool.rows)
    folders = {path.parent.relative_to(chain / "pngs").as_posix() for path in pngs}
    kinds = {(row.split, row.source.partition("/")[0], row.label) for row in pool.rows}
    assert folders == {"/".join(kind) for kind in kinds}


def test_an_undivided_set_of_real_images_is_exported_by_class_alone(chain, capsys):
    out = chain / "plain"
    assert main(["export", str(chain / "images"), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["about.json", "index.csv", "normal", "pneumonia"]
    assert capsys.readouterr().out == "images 40\n"


def test_what_was_exported_comes_back_as_the_same_images(chain):
    out = chain / "round"
    assert main(["export", str(chain / "images"), str(out)]) == 0
    assert main(["ingest", *SETTINGS, str(out), str(chain / "back")]) == 0
    before, after = ImageSet.open(chain / "images"), ImageSet.open(chain / "back")
    assert [(row.sha256, row.label) for row in after.rows] == [(row.sha256, row.label) for row in before.rows]


def test_what_is_exported_again_replaces_what_was_exported(chain, tmp_path):
    out = tmp_path / "pngs"
    for images, count in (("images", 40), ("held_out normal drawn", 5)):
        assert main(["export", str(chain / images), str(out)]) == 0
        assert len(list(out.rglob("*.png"))) == count


def test_a_verb_replaces_nothing_that_another_verb_wrote_and_no_whole_run(chain, tmp_path, capsys):
    out, images = shutil.copytree(chain / "images", tmp_path / "out"), str(chain / "images")
    before = sorted(out.iterdir())
    assert main(["split", images, str(out), "--protocol", "held_out"]) == 2
    assert "was not written by syntrial split and would be replaced" in capsys.readouterr().err
    (out / "run.json").touch()
    assert main(["ingest", images, str(out)]) == 2
    assert "was not written by syntrial ingest and would be replaced" in capsys.readouterr().err
    assert sorted(out.iterdir()) == sorted([*before, out / "run.json"])


def test_a_folder_to_write_may_be_a_link_also_to_a_place_that_is_not_there_yet(chain, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "pngs")
    for images, count in (("images", 40), ("held_out normal drawn", 5)):
        assert main(["export", str(chain / images), str(tmp_path / "out")]) == 0
        assert len(list((tmp_path / "disk" / "pngs").rglob("*.png"))) == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


@pytest.mark.parametrize("out", [".", "..", "../here/inner/..", ""])
def test_the_working_directory_is_not_replaced(out, raw, tmp_path, monkeypatch, capsys):
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert main(["ingest", str(raw / "xray"), out]) == 2
    assert re.fullmatch(
        r"error: /.* is or contains the working directory and would be replaced; name a new folder\n",
        capsys.readouterr().err,
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "inner"]


def test_a_sibling_folder_is_written_by_dots(raw, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["ingest", *SETTINGS, str(raw / "xray"), "../there/."]) == 0
    assert len(ImageSet.open(tmp_path / "there").rows) == 40


def test_a_working_directory_that_is_gone_is_reported(raw, tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert main(["ingest", str(raw / "xray"), "new"]) == 2
    assert capsys.readouterr().err == "error: the working directory no longer exists; change to another one\n"


WRITTEN = ("images", "held_out parts", "held_out normal generator", "held_out normal drawn", "held_out pool")


@pytest.mark.parametrize("folder", [*WRITTEN, "held_out original", "report", "pngs"])
def test_a_verb_says_last_that_its_folder_is_whole(folder, chain):
    written_ns = {path.name: path.stat().st_mtime_ns for path in (chain / folder).iterdir() if path.is_file()}
    assert written_ns["about.json"] == max(written_ns.values())


@pytest.mark.parametrize("verb", ["ingest", "train-generator"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(verb, chain, raw, tmp_path):
    words = {
        "ingest": (raw / "xray",),
        "train-generator": (chain / "held_out parts", "--kind", "simple", "--label", "normal"),
    }
    blocks = {"ingest": 20, "train-generator": 4}[verb]  # of 1,024 bytes, the most of a file
    (tmp_path / "here").mkdir()
    full = ["bash", "-c", f'ulimit -f {blocks} && exec "$@"', "bash", sys.executable, "-m", "syntrial.cli", verb]
    command = [*full, *SETTINGS, *map(str, words[verb]), str(tmp_path / "here" / "new")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "has no space" in done.stderr.splitlines()[-1]
    assert list((tmp_path / "here").iterdir()) == []


def test_checkpoints_that_nobody_went_on_with_are_pruned_by_hand(tmp_path, capsys):
    for key in ("old", "young"):
        Checkpoints(key, tmp_path / "kept", str(tmp_path / "mirror")).save(1, {"step": 1})
    for path in tmp_path.glob("*/old/*"):
        os.utime(path, (0, 0))
    words = ["prune", "--folder", str(tmp_path / "kept"), "--uri", str(tmp_path / "mirror"), "--older-than-days", "30"]
    assert main(words) == 0
    assert capsys.readouterr().out == "pruned 1\n"
    assert {path.parent.name for path in tmp_path.glob("*/*/LATEST")} == {"young"}


def test_an_export_that_fails_leaves_nothing(chain, tmp_path):
    damaged = tmp_path / "set"
    assert main(["split", *SETTINGS, str(chain / "images"), str(damaged), "--protocol", "as_printed"]) == 0
    (damaged / "index.csv").unlink()
    assert main(["export", str(damaged), str(tmp_path / "pngs")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


MISTAKES = {
    "no verb": ([], "required: COMMAND"),
    "an unknown verb": (["sythesize"], "invalid choice: 'sythesize'"),
    "a flag before its verb": (
        ["--set", "side=32", "split"],
        "--set stands before the command; flags follow it, such as syntrial run --set ...",
    ),
    "an unknown flag": (["split", "images", "new", "--protocol", "held_out", "--colour"], "--colour"),
    "a side of nothing": (["ingest", "raw", "new", "--side", "0"], "0 is not a whole number of px"),
    "no such data": (["ingest", "nowhere", "new"], "there is no nowhere"),
    "no such class": (["ingest", "raw", "new", "--classes", "normal", "covid"], "no image of the class 'covid'"),
    "a misspelt setting": (
        ["split", "images", "new", "--protocol", "held_out", "--set", "split.val_shar=0.1"],
        "did you mean 'val_share'",
    ),
    "no such study": (
        ["split", "images", "new", "--protocol", "held_out", "--study", "no.yaml"],
        "no study file no.yaml",
    ),
    "an impossible protocol": (["split", "images", "new", "--protocol", "by_moon"], "invalid choice: 'by_moon'"),
    "not an image set": (
        ["split", "raw", "new", "--protocol", "held_out"],
        "raw is not an image set: it lacks about.json",
    ),
    "a class that is not there": (
        ["train-generator", "parts", "new", "--kind", "simple", "--label", "covid"],
        "no class 'covid'",
    ),
    "a generator that the study has not": (
        ["train-generator", "parts", "new", "--kind", "simpel", "--label", "normal"],
        "generators has no 'simpel'; did you mean 'simple'?",
    ),
    "a transfer from nothing": (
        ["train-generator", "parts", "new", "--kind", "transfer", "--label", "normal"],
        "needs a trained generator",
    ),
    "not a generator": (["synthesize", "images", "new"], "images is not a trained generator"),
    "no image to draw": (["synthesize", "generator", "new", "--count", "0"], "images_per_class is 0"),
    "an undivided pool": (["pool", "images", "new"], "images is not divided into parts"),
    "no such arm": (["train-classifier", "parts", "new", "--arm", "orginal"], "there is no arm 'orginal'"),
    "an arm without its generator": (
        ["train-classifier", "parts", "new", "--arm", "simple_gan"],
        "has no images of a simple generator",
    ),
    "a seed twice": (["train-classifier", "parts", "new", "--seeds", "1", "1"], "seeds contains an item twice"),
    "a report of nothing": (
        [
            "report",
            "new",
            "--as-printed",
            "raw",
            "--as-printed-images",
            "pool",
            "--held-out",
            "raw",
            "--held-out-images",
            "pool",
        ],
        "raw is not a folder of predictions",
    ),
    "an export of nothing": (["export", "raw", "new"], "raw is not an image set"),
    "somebody's folder in the way": (["export", "images", "raw"], "was not written by syntrial"),
    "a file in the way": (["export", "images", "images/index.csv"], "images/index.csv is a file"),
    "a link that leads to itself": (["export", "images", "round"], "round is a file; name a folder"),
    "a set divided twice": (
        ["split", "parts", "new", "--protocol", "held_out"],
        "parts is divided already; split wants the set as ingest wrote it",
    ),
    "real images given as synthetic": (
        ["pool", "parts", "new", "--synthetic", "images"],
        "images was not drawn by a generator",
    ),
    "a place that takes no folder": (["export", "images", "images/index.csv/new"], "images/index.csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(mistake, chain, raw, tmp_path, monkeypatch, capsys):
    words, sentence = MISTAKES[mistake]
    links = {"raw": raw / "xray", "images": chain / "images", "parts": chain / "held_out parts"}
    links |= {"pool": chain / "held_out pool", "generator": chain / "held_out normal generator"}
    links["round"] = tmp_path / "round"
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    reported = capsys.readouterr().err.strip().splitlines()
    assert [line for line in reported if line.startswith("error: ")] == [reported[-1]]
    assert sentence in reported[-1]
    assert not (tmp_path / "new").exists()


def test_without_torch_a_verb_that_trains_names_what_is_missing(chain, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    done = syntrial("synthesize", chain / "transfer", tmp_path / "new", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == "error: synthesize needs torch, which is not installed; run pip install torch\n"


def test_a_generator_that_a_study_adds_is_trained_by_hand_like_any_other(chain, tmp_path):
    words = ("--set", "generators.mine.epochs=1", chain / "held_out parts", tmp_path / "mine", "--kind", "mine")
    by_hand("train-generator", *words, "--label", "normal")
    assert json.loads((tmp_path / "mine" / "about.json").read_text())["name"] == "mine/normal"


def test_ctrl_c_ends_a_training_with_how_to_go_on(chain, tmp_path):
    words = [
        "train-generator",
        *SETTINGS,
        "--set",
        "generators.simple.epochs=100000",
        chain / "held_out parts",
        tmp_path / "new",
    ]
    words += ["--kind", "simple", "--label", "normal"]
    command = [sys.executable, "-m", "syntrial.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "SYNTRIAL_CHECKPOINTS": str(tmp_path / "kept")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr.readline().startswith("train_generator held out simple/normal")
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            reported = running.communicate(timeout=60)[1]
        finally:
            running.kill()
    assert running.returncode == 130
    assert reported.endswith("stopped; the same command continues from the last checkpoint\n")
    assert "Traceback" not in reported
    assert not (tmp_path / "new").exists()


def test_png_files_hold_the_pixels_as_they_are(chain):
    pool = ImageSet.open(chain / "held_out pool")
    with Image.open(next((chain / "pngs").rglob("000000.png"))) as png:
        assert (png.mode, png.tobytes()) == ("L", pool.pixels([0]).tobytes())
