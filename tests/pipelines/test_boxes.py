"""Each box is declared once; its body is short; what its image is called follows from the code that it can reach."""

import ast
import importlib
import shutil

import pytest
from local_runs import ROOT

from components._base import box_digest, modules_of
from pipelines import boxes as declared
from syntrial.identity import PACKAGE, is_neutral, reached, sources

BOXES = sorted(path.stem for path in (ROOT / "components").glob("[a-z]*.py"))
SILENT = {"digest", "settle"}  # they have no numbers
LINES = 8  # of a body, at most
NAMES = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))]
NEUTRAL_MODULES = [name for name in (name.removesuffix(".__init__") for name in NAMES) if is_neutral(name)]


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


def moved(package, module, text):
    """The boxes whose identity a line at the end of a module changes."""
    path = package.joinpath(*module.split(".")).with_suffix(".py")
    path = path if path.exists() else path.with_suffix("") / "__init__.py"
    before, whole = identities(package), path.read_text(encoding="utf-8")
    path.write_text(whole + text, encoding="utf-8")
    after = identities(package)
    path.write_text(whole, encoding="utf-8")
    return {box for box in BOXES if before[box] != after[box]}


def identities(package):
    return {box: sources(modules_of(box), package) for box in BOXES}


@pytest.fixture
def package(tmp_path):
    """A copy of the code that may be changed."""
    return shutil.copytree(PACKAGE, tmp_path / "syntrial", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(
    ("module", "boxes"),
    [
        ("reporting.page", {"report"}),
        ("pool", {"pool"}),
        ("generators.losses", {"synthesize", "train_generator"}),  # whoever builds a network takes the whole room
        ("training.adam", {"train_classifier", "train_generator"}),
    ],
)
def test_a_change_of_what_computes_moves_the_boxes_that_reach_it_and_no_other(module, boxes, package):
    assert moved(package, module, "\nchanged = True\n") >= boxes
    assert "split" not in moved(package, module, "\nchanged = True\n")


def test_a_change_of_what_computes_moves_every_box_that_imports_it(package):
    for box in BOXES:
        for module in reached(modules_of(box), package):
            assert box in moved(package, module, "\nchanged = True\n"), (box, module)


@pytest.mark.parametrize("module", NEUTRAL_MODULES)
def test_a_change_of_what_only_reports_or_transports_moves_no_box(module, package):
    assert moved(package, module, "\nchanged = True\n") == set()


def test_a_comment_or_a_docstring_moves_no_box(package):
    before = identities(package)
    for path in package.rglob("*.py"):
        path.write_text("# A comment.\n" + path.read_text(encoding="utf-8") + "# Another.\n", encoding="utf-8")
    assert identities(package) == before
