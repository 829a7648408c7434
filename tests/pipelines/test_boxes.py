"""Each box is declared once; its body is short; what its image is called follows from the code that it can reach."""

import ast
import importlib
import shutil
import subprocess
import sys

import pytest
from local_runs import ROOT, environment

from components._base import box_digest, modules_of
from pipelines import boxes as declared

BOXES = sorted(path.stem for path in (ROOT / "components").glob("[a-z]*.py"))
SILENT = {"digest", "settle"}  # they have no numbers
LINES = 8  # of a body, at most


def test_every_component_is_declared_and_nothing_else_is():
    assert sorted(declared.BOXES) == BOXES


@pytest.mark.parametrize("name", BOXES)
def test_a_body_hands_paths_to_one_verb(name):
    text = (ROOT / "components" / f"{name}.py").read_text(encoding="utf-8")
    (function,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    assert len([line for line in lines if line.strip()]) <= LINES


@pytest.mark.parametrize("name", BOXES)
def test_a_box_that_reports_progress_has_labels_and_no_other(name):
    verb = (ROOT / "src" / "syntrial" / f"{name}.py").read_text(encoding="utf-8")
    assert ("Progress(" in verb) == (declared.BOXES[name].labels is not None)


@pytest.mark.parametrize("name", BOXES)
def test_the_image_bears_the_hash_of_the_code(name):
    box = getattr(importlib.import_module(f"components.{name}"), name)
    assert box.component_spec.implementation.container.image.endswith(f":{box_digest(name)}")


@pytest.mark.parametrize("name", [box for box in BOXES if box not in SILENT])
def test_a_box_uses_its_verb_and_tells_the_dashboard(name):
    assert {name, "reporting.dashboard"} <= set(modules_of(name))


@pytest.mark.parametrize(
    ("module", "moved"),
    [
        ("reporting/page.py", {"report"}),
        ("pool.py", {"pool"}),
        (
            "generators/losses.py",
            {"synthesize", "train_generator"},
        ),  # who builds a network takes all of it
        (
            "store/objects.py",
            {"digest", "ingest", "train_classifier", "train_generator"},
        ),  # the last two keep checkpoints there
        ("reporting/dashboard.py", set(BOXES) - SILENT),
    ],
)
def test_a_change_of_code_moves_the_boxes_that_reach_it(module, moved, tmp_path):
    for folder in ("src", "components"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = digests(tmp_path)
    with open(tmp_path / "src" / "syntrial" / module, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    after = digests(tmp_path)
    assert {name for name in BOXES if before[name] != after[name]} == moved


def digests(checkout):
    code = "import sys; from components._base import box_digest; print(*map(box_digest, sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *BOXES], env=environment(checkout), cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(BOXES, done.stdout.split(), strict=True))
