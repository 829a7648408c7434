"""The rules of the house: what holds for every file here, whoever writes it."""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from packaging.requirements import Requirement

from syntrial import __version__
from syntrial.config import IngestConfig, StudyConfig, load_study
from syntrial.generators.losses import LOSSES
from syntrial.generators.settings import DcganConfig
from syntrial.reading.layouts import LAYOUTS
from syntrial.settings import settings_of

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample"
ORIGINALS = ROOT.parent / "shared" / "data"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CODE = sorted(path for folder in ("src", "components", "pipelines") for path in (ROOT / folder).rglob("*.py"))
BOXES = sorted(path.stem for path in (ROOT / "components").glob("[a-z]*.py"))
# A verb's first line says so. Not every verb is a box.
MODULES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "src" / "syntrial").glob("*.py")}
VERBS = sorted(name for name, text in MODULES.items() if text.startswith('"""Verb: '))
LIGHT = ["digest", "ingest", "pool", "report", "settle", "split"]  # the verbs that run without torch

# What no file may hold, and the files that may.
FORBIDDEN = {
    "a package index": (r"pypi[.]org|pythonhosted[.]org|download[.]pytorch|deb[.]debian|ubuntu[.]com|index[-]url", ()),
    "a place on somebody's machine": (r"(?<![\w.}])/(?:work|home|root|Users)/", ()),
    "data from beside the repository": (r"[.][.]/shared", (".ci/run", "tests/")),
}
# Folders that come and go, and are no part of the repository.
PASSING = re.compile(r"[.](?!ci$)|(runs|build|__pycache__)$|.*[.]egg-info$")

IMPORTS = """
import importlib, sys
reached = []
outside = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname")

def hook(event, what):
    if event in outside or event == "subprocess.Popen" and "pip" in str(what):
        reached.append((event, what))

sys.addaudithook(hook)
for name in sys.argv[1:]:
    importlib.import_module(name)
print("torch" in sys.modules, *reached)
"""


def tree() -> Iterator[Path]:
    """Every file that belongs to the repository."""
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if not PASSING.match(name)]
        yield from (Path(folder, name) for name in names)


def texts() -> Iterator[tuple[str, str]]:
    """Every text file: its path from the root, and what it says."""
    for path in tree():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path.relative_to(ROOT).as_posix(), content.decode(errors="replace")


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    """The functions of a module, methods and inner ones included."""
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef))


def lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    documented = function.body[0] if ast.get_docstring(function) else None
    return _span(function) - (_span(documented) if documented else 0)


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def draws_a_graph(function: ast.FunctionDef) -> bool:
    """A pipeline, or what makes one: a list of boxes and wires, whose length is that of the graph."""
    marks = (mark for node in ast.walk(function) for mark in getattr(node, "decorator_list", []))
    return any("pipeline" in ast.unparse(mark) for mark in marks)


def imported(*names: str) -> tuple[str, str]:
    """What importing modules in a fresh Python brings: torch ("True" or "False"), and calls outside."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-c", IMPORTS, *names]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    torch, _, reached = done.stdout.strip().partition(" ")
    return torch, reached


def make(*arguments: str) -> str:
    """What make prints, as if called by hand."""
    if not shutil.which("make"):
        pytest.skip("make is not installed, so the Makefile cannot be read as make reads it")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def bound(contract: str, key: str) -> list[str]:
    """The verbs that a contract of the import linter names under a key."""
    (found,) = (one for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["name"] == contract)
    return sorted(name.removeprefix("syntrial.") for name in found[key])


def public(module: ast.Module) -> list[ast.stmt]:
    """The functions and classes of a module that others may use."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in module.body if isinstance(node, kinds) and not node.name.startswith("_")]


# Code


def test_every_module_and_all_that_is_public_in_it_says_what_it_is():
    modules = {path: ast.parse(path.read_text(encoding="utf-8")) for path in CODE}
    wanted = [(path, node) for path, module in modules.items() for node in (module, *public(module))]
    silent = [(path, node) for path, node in wanted if not ast.get_docstring(node)]
    assert not [f"{path.name} {getattr(node, 'name', '')}" for path, node in silent if "src" in path.parts]
    assert not [path.name for path, node in silent if isinstance(node, ast.Module)]


def test_functions_are_short():
    every = [(lines(one), one.name, path.name) for path in CODE for one in functions(path) if not draws_a_graph(one)]
    lengths = sorted(length for length, *_ in every)
    assert max(every)[0] <= 60, max(every)
    assert lengths[len(lengths) * 9 // 10] < 30
    assert statistics.median(lengths) <= 11


def test_the_contract_keeps_every_verb_from_every_other():
    assert bound("Verbs never call verbs", "modules") == VERBS
    assert bound("Data and report stages need no torch", "source_modules") == LIGHT


@pytest.mark.parametrize("verb", LIGHT)
def test_a_data_or_report_stage_starts_without_torch(verb):
    assert imported(f"syntrial.{verb}") == ("False", "")


def test_no_stage_calls_a_network_or_an_installer_when_it_starts():
    assert imported(*(f"syntrial.{verb}" for verb in VERBS))[1] == ""


@pytest.mark.parametrize("name", BOXES)
def test_a_box_installs_nothing_and_decides_nothing(name):
    box = getattr(importlib.import_module(f"components.{name}"), name)
    assert "pip install" not in str(box.component_spec.implementation.container)
    source = ast.parse((ROOT / "components" / f"{name}.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(source) if isinstance(node, ast.For | ast.While | ast.If | ast.Try)]


def test_nothing_under_test_is_patched():
    patched = re.compile(r"monkeypatch[.]setattr|unittest[.]mock|mocker[.]")
    assert not [name for name, text in texts() if name.startswith("tests/") and patched.search(text)]


# Settings


def test_every_setting_says_what_it_means_and_where_it_comes_from():
    rows = settings_of(StudyConfig())
    assert len(rows) > 60
    assert not [row["name"] for row in rows if not (row["meaning"] and row["source"])]


def test_every_name_a_setting_may_take_is_in_its_registry():
    assert {*get_args(IngestConfig.model_fields["layout"].annotation)} <= {"auto", *LAYOUTS}
    assert {*get_args(DcganConfig.model_fields["loss"].annotation)} == {*LOSSES}


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_that_ships_is_valid_and_bears_its_files_name(path):
    assert load_study(path).name == path.stem


# Files


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    pattern, homes = FORBIDDEN[what]
    assert not [name for name, text in texts() if re.search(pattern, text) and not name.startswith(homes or "\0")]


def test_the_readmes_tree_is_the_tree():
    drawn = next(block for block in (ROOT / "README.md").read_text(encoding="utf-8").split("```") if "├──" in block)
    folders = [ROOT]
    for depth, name in re.findall(r"^([│ ]*)[├└]── ([^\s]+)", drawn, re.MULTILINE):
        folders[len(depth) // 4 + 1 :] = [folders[len(depth) // 4] / name]
        assert folders[-1].exists(), f"the README names {name}, which is not there"
    modules = (path.name for path in (ROOT / "src" / "syntrial").glob("[a-z]*.py"))
    tops = (path.name + "/" for path in ROOT.iterdir() if path.is_dir() and re.match(r"[a-z]", path.name))
    assert not [name for name in (*modules, *tops) if name not in drawn and name not in ("runs/", "build/")]


def test_no_line_of_a_markdown_file_has_130_characters_or_more():
    """Except in the program's own output, docs/results/*/."""
    pages = [path for path in tree() if path.suffix == ".md" and path.parents[1] != ROOT / "docs" / "results"]
    numbered = ((path, i, len(line)) for path in pages for i, line in enumerate(path.read_text("utf-8").split("\n"), 1))
    assert not [f"{path.relative_to(ROOT)}:{i}" for path, i, length in numbered if length >= 130]


def test_the_changelog_speaks_of_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## .*\b{re.escape(__version__)}\b", changes, re.MULTILINE)


def test_every_registry_that_contributing_names_is_where_it_says():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`([A-Z_]+)` [(]`([\w/]+[.]py)`[)]", text)
    assert len(named) >= 5
    for name, file in named:
        module = (ROOT / "src" / "syntrial" / file).read_text(encoding="utf-8")
        assert re.search(rf"^{name}\b.* = ", module, re.MULTILINE), f"{file} has no {name}"


def test_the_changelog_has_the_heading_that_contributing_names():
    (heading,) = re.findall(
        r"`CHANGELOG[.]md` under ([*]{2}\w+[*]{2})", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    )
    assert heading in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_help_speaks_of_everything_that_can_be_made():
    (targets,) = re.findall(r"^[.]PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^  make ([a-z]+)  ", make("help"), re.MULTILINE) == targets.split()


def test_the_gate_runs_every_judge_and_the_gate_is_what_ci_runs():
    gate, judges = make("--dry-run", "check"), ("ruff check", "ruff format --check", "mypy", "lint-imports", "pytest")
    assert not [judge for judge in judges if judge not in gate]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in run and re.search(r"^env -u KUBECONFIG make check \|", run, re.MULTILINE)


# What is installed


def locked() -> dict[str, list[str]]:
    """Name -> what the lock says of it, once for each version (they can differ by Python and system)."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        found.setdefault(re.split(r"\W*==", block)[0], []).append(block)
    return found


def test_every_locked_package_has_one_version_and_its_hashes():
    blocks = [block for several in locked().values() for block in several]
    assert len(blocks) > 50
    pinned = re.compile(r"[\w.-]+==[\w.]+ (;.*)?\\\n +--hash=sha256:[0-9a-f]{64}")
    assert not [block for block in blocks if not pinned.match(block)]


def test_the_lock_names_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.findall(r"^--|://|\bindex\b|find-links", text, re.MULTILINE)
    assert "make lock" in text.splitlines()[1]


def test_the_lock_meets_what_the_project_asks_for():
    project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
    asked = [Requirement(text) for text in (*project["dependencies"], *groups["dev"])]
    versions = {name: [block.split("==")[1].split()[0] for block in blocks] for name, blocks in locked().items()}
    assert not [str(one) for one in asked if not all(map(one.specifier.contains, versions.get(one.name, ["none"])))]


# The images that ship


def test_the_sample_is_small_and_has_both_classes_and_faces():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 8_000_000
    folders = ("xray/normal", "xray/pneumonia", "faces")
    assert min(len(list((SAMPLE / folder).glob("*.png"))) for folder in folders) >= 200


def test_no_face_ships_that_is_not_in_the_public_domain():
    assert not [path.name for path in tree() if path.name.startswith("ffhq")]
    assert all(re.fullmatch(r"congress_[A-Z]\d{6}[.]png", path.name) for path in (SAMPLE / "faces").iterdir())


@pytest.mark.parametrize("credit", ["CC BY 4.0", "10.17632/rscbjbr9sj", "Kermany", "public domain"])
def test_whose_images_they_are_is_said_beside_them_and_in_the_notice(credit):
    for page in (SAMPLE / "README.md", ROOT / "NOTICE"):
        assert credit in page.read_text(encoding="utf-8")


def originals() -> list[dict[str, str]]:
    """The manifest of the set that the sample's X-rays come from."""
    manifest = ORIGINALS / "manifests" / "cxr.csv"
    if not manifest.exists():
        pytest.skip(f"{manifest} is not here, so the sample cannot be compared with the set it comes from")
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_sample_holds_patients_whole():
    patients: dict[str, set[str]] = {}
    for row in originals():
        patients.setdefault(row["patient_group"], set()).add(f"{row['class']}/{Path(row['file']).name}")
    sample = {f"{path.parent.name}/{path.name}" for path in (SAMPLE / "xray").glob("*/*.png")}
    assert sample <= set.union(*patients.values())
    assert not [patient for patient, files in patients.items() if files & sample and not files <= sample]


def test_the_sample_is_the_sets_own_bytes():
    published = {Path(row["file"]).name: row["sha256"] for row in originals()}
    files = list((SAMPLE / "xray").glob("*/*.png"))
    assert not [path.name for path in files if hashlib.sha256(path.read_bytes()).hexdigest() != published[path.name]]
