"""The graph compiles for whatever a study asks for, and runs where a part of it is missing."""

import json
import subprocess
import sys

import local_runs
import pytest
import yaml
from kfp import compiler
from local_runs import ROOT, SHARES, SMOKE, TINY, environment, settings

from pipelines.boxes import BOXES
from pipelines.graph import SETS, arguments_of, graph, kinds_of
from pipelines.tasks import expanded
from syntrial.config import StudyConfig, load_study
from syntrial.errors import ConfigError

SHAPES = {
    **{path.stem: (path, []) for path in sorted((ROOT / "studies").glob("*.yaml"))},
    "no generators": (SMOKE, ["arms=[original, duplicates]"]),
    "simple generators only": (SMOKE, ["arms=[original, simple_gan]"]),
    "transferred generators only": (SMOKE, ["arms=[original, transfer_gan]"]),
    "one generator of all classes": (
        SMOKE,
        ["generators.simple.conditional=true", "generators.transfer.conditional=true"],
    ),
    "no resize check": (SMOKE, ["resize_check.full_side=0"]),
}


def compiled(study, path):
    """The pipeline's specification."""
    compiler.Compiler().compile(graph(study), str(path))
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_compiles_with_a_box_for_each_kind_that_the_arms_need(shape, tmp_path):
    path, changes = SHAPES[shape]
    study = load_study(path, changes)
    spec = compiled(study, tmp_path / "graph.yaml")
    tasks = {name for component in spec["components"].values() for name in component.get("dag", {}).get("tasks", {})}
    tasks |= set(spec["root"]["dag"]["tasks"])
    assert {"ingest", "report", "trial", "split", "pool", "train-classifier"} <= {
        name.rstrip("-0123456789") for name in tasks
    }
    assert ("train-generator" in tasks) == bool(kinds_of(study))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_parameter_of_the_graph_gets_an_argument(shape, tmp_path):
    path, changes = SHAPES[shape]
    study = load_study(path, changes)
    wanted = compiled(study, tmp_path / "graph.yaml")["root"]["inputDefinitions"]["parameters"]
    given = arguments_of(study, data="d", faces="f", external="")
    assert set(given) == set(wanted)
    assert json.loads(json.dumps(given)) == given


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_box_of_every_graph_is_declared_and_has_its_labels(shape, tmp_path):
    path, changes = SHAPES[shape]
    study = load_study(path, changes)
    spec = compiled(study, tmp_path / "graph.yaml")
    tasks = expanded(spec, arguments_of(study, data="d", faces="f", external=""))
    assert {task.box for task in tasks} <= {*BOXES}
    labels = [(task.box, *BOXES[task.box].labels(task.facts).items()) for task in tasks if BOXES[task.box].labels]
    assert len(set(labels)) == len(labels)  # no two have the same name


@pytest.mark.filterwarnings("ignore")
def test_a_box_comes_after_all_that_it_needs(tmp_path):
    study = load_study(SMOKE)
    tasks = expanded(compiled(study, tmp_path / "graph.yaml"), arguments_of(study, data="d", faces="f", external=""))
    seen = set()
    for task in tasks:
        assert set(task.needs) <= seen, task.path
        seen.add(task.path)


@pytest.mark.filterwarnings("ignore")
def test_what_a_box_needs_is_what_it_is_handed(tmp_path):
    study = load_study(SMOKE)
    tasks = expanded(compiled(study, tmp_path / "graph.yaml"), arguments_of(study, data="d", faces="f", external=""))
    title = {task.path: task.title for task in tasks}
    needs = {task.title: {title[path] for path in task.needs} for task in tasks}
    assert needs["held out / transfer generators / normal / train transfer generator"] == {
        "held out / divide",
        "train faces generator",
    }
    assert needs["held out / arms / original / train classifier"] == {"held out / pool"}
    trained = {task.title for task in tasks if task.box == "train_classifier"}
    assert needs["report"] == {"settle the study", "as printed / pool", "held out / pool", *trained}


def inputs_of(study, path):
    """What each box is given, by its title: the arguments of the cache's key."""
    tasks = expanded(compiled(study, path), arguments_of(study, data="d", faces="f", external=""))
    return {task.title: (task.box, task.values) for task in tasks}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("ingest.min_side=16", {"ingest"}),
        ("split.seed=5", {"split", "pool"}),
        ("generators.simple.lr=0.5", {"train_generator"}),
        ("classifier.lr=0.5", {"train_classifier"}),
        ("conventional.zoom_range=[1, 1]", {"train_classifier"}),
        ("report.resamples=999", set()),
        ("generators.simple.epochs=9", {"train_generator"}),
    ],
)
def test_a_changed_setting_reaches_the_boxes_of_its_section_only(change, redone, tmp_path):
    before = inputs_of(load_study(SMOKE), tmp_path / "before.yaml")
    after = inputs_of(load_study(SMOKE, [change]), tmp_path / "after.yaml")
    moved = {title for title in after if after[title] != before[title]}
    assert {after[title][0] for title in moved} == redone | {"settle"}
    if "simple" in change:
        assert not [title for title in moved if "transfer" in title or "faces" in title]


@pytest.mark.filterwarnings("ignore")
def test_a_generator_that_a_study_names_has_a_loop_and_epochs_of_its_own(tmp_path):
    wide = "{width: 8, epochs: 3}"
    study = load_study(SMOKE, [f"generators.wide={wide}", "arms=[original, {name: half, add: wide, dose: 0.5}]"])
    arguments = arguments_of(study, data="d", faces="", external="")
    assert arguments["wide_epochs"] == 3 and "simple_epochs" not in arguments
    tasks = expanded(compiled(study, tmp_path / "graph.yaml"), arguments)
    trained = [task.facts for task in tasks if task.box == "train_generator"]
    assert {(one["kind"], one["label"]) for one in trained} == {("wide", "normal"), ("wide", "pneumonia")}
    assert {(one["epochs"], one["settings"]["width"]) for one in trained} == {(3, 8)}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["my-gan", "my_gan"], "generators.my-gan and generators.my_gan would both be turned by my_gan_epochs"),
        (["simple", "Simple"], "generators.simple and generators.Simple would both be turned by simple_epochs"),
        (["classifier"], "generators.classifier and classifier would both be turned by classifier_epochs"),
    ],
)
def test_two_settings_that_would_be_one_parameter_are_refused_in_one_sentence(names, told):
    arms = ", ".join(f"'arm{number}: add={name}'" for number, name in enumerate(names))
    study = load_study(SMOKE, [f"arms=[original, {arms}]", *(f"generators.{name}.epochs=2" for name in names)])
    with pytest.raises(ConfigError, match=told):
        graph(study)


def test_more_generators_than_pool_has_inputs_are_refused_in_one_sentence():
    names = [f"own_{number}" for number in range(SETS + 1)]
    arms = ", ".join(f"{{name: arm_{name}, add: {name}}}" for name in names)
    study = load_study(SMOKE, [*(f"generators.{name}={{width: 4}}" for name in names), f"arms=[original, {arms}]"])
    with pytest.raises(ConfigError, match=f"the arms need {SETS + 1} generators; one study can have {SETS}"):
        graph(study)


@pytest.mark.filterwarnings("ignore")
def test_the_settled_study_is_given_everything_that_can_be_turned(tmp_path):
    study = load_study(SMOKE)
    spec = compiled(study, tmp_path / "graph.yaml")
    given = {where.get("componentInputParameter") for where in parameters(spec, "settle").values()} - {None}
    assert given == {*arguments_of(study, data="", faces="", external="")} - {"data", "faces", "external"}
    assert set(parameters(spec, "report")) == {"study"}


def parameters(spec, box):
    return spec["root"]["dag"]["tasks"][box]["inputs"]["parameters"]


PRINTED = """
import sys, warnings
warnings.simplefilter("ignore")
from pipelines.graph import graph
from kfp import compiler
from syntrial.config import load_study
compiler.Compiler().compile(graph(load_study(sys.argv[1])), sys.argv[2])
"""


def test_a_study_compiles_to_the_same_text_in_every_process(tmp_path):
    texts = set()
    for seed in range(4):
        out = tmp_path / f"{seed}.yaml"
        words = [sys.executable, "-c", PRINTED, str(SMOKE), str(out)]
        subprocess.run(words, cwd=ROOT, env=environment(PYTHONHASHSEED=str(seed)), check=True, capture_output=True)
        texts.add(out.read_text(encoding="utf-8"))
    assert len(texts) == 1  # the cache goes by names in it


def test_the_report_has_the_study_that_ran(tiny):
    ran = json.loads((tiny.folder / "about.json").read_text(encoding="utf-8"))["config"]
    assert StudyConfig.of(ran) == load_study(SMOKE, TINY[1::2])


def test_a_study_without_generators_runs_to_its_report(tiny):
    assert tiny.code == 0, tiny.done.stderr[-3000:]
    assert json.loads(tiny.results)["arms"] == ["original"]
    assert not [name for name in tiny.boxes if "gan" in name or "faces" in name]


def test_a_study_without_a_transfer_asks_for_no_faces(xrays, tmp_path):
    run = local_runs.run(tmp_path, "--data", xrays, "--faces", "nowhere", "--dry-run", *TINY)
    assert run.code == 0, run.done.stderr


def test_a_study_with_simple_generators_only_runs_to_its_report(small):
    assert small.code == 0, small.done.stderr[-3000:]
    results = json.loads(small.results)
    assert results["data"]["held_out"]["synthetic"] == {"simple/normal": 5, "simple/pneumonia": 5}
    assert not [name for name in small.boxes if "faces" in name]


@pytest.fixture(scope="session")
def conditional(tmp_path_factory, xrays):
    """One generator of both classes, simple and transferred from faces."""
    changes = [
        "generators.simple.conditional=true",
        "generators.transfer.conditional=true",
        "arms=[original, simple_gan, transfer_gan]",
    ]
    changes += ["name=conditional", "images_per_class=5", "resize_check.full_side=0", SHARES]
    return local_runs.run(tmp_path_factory.mktemp("conditional"), "--data", xrays, *settings(*changes))


def test_one_generator_of_all_classes_draws_images_of_each(conditional):
    assert conditional.code == 0, conditional.done.stderr[-3000:]
    results = json.loads(conditional.results)
    assert results["data"]["held_out"]["synthetic"] == {"simple/*": 10, "transfer/*": 10}
    index = next(conditional.folder.glob("artifacts/held_out-pool-*/index.csv")).read_text(encoding="utf-8")
    for kind in ("simple", "transfer"):
        rows = [line.split(",")[1] for line in index.splitlines() if f",{kind}/*," in line]
        assert {label: rows.count(label) for label in set(rows)} == {"normal": 10 // 2, "pneumonia": 10 // 2}


def test_the_boxes_of_one_generator_of_all_classes_are_planned(conditional):
    assert [name for name in conditional.boxes if name.startswith("train_generator")] == [
        "train_generator as printed simple/*",
        "train_generator as printed transfer/*",
        "train_generator faces/faces",
        "train_generator held out simple/*",
        "train_generator held out transfer/*",
    ]


def test_the_report_shows_what_one_generator_of_all_classes_drew_of_each(conditional):
    page = (conditional.folder / "report.html").read_text(encoding="utf-8")
    assert "simple/*" in page
    strips = {path.stem for path in (conditional.folder / "figures").glob("samples-*.png")}
    kinds = ("real", "simple", "transfer")
    assert strips == {f"samples-{label}-{kind}" for label in ("0-normal", "1-pneumonia") for kind in kinds}
