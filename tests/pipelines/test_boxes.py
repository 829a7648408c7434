"""What a box's image is called follows from the code that the box can reach, and from no other."""

import importlib
import shutil
import subprocess
import sys

import pytest
from local_runs import ROOT, environment

from components._base import box_digest, modules_of

BOXES = sorted(path.stem for path in (ROOT / "components").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", BOXES)
def test_the_image_bears_the_hash_of_the_code(name):
    box = getattr(importlib.import_module(f"components.{name}"), name)
    assert box.component_spec.implementation.container.image.endswith(f":{box_digest(name)}")


@pytest.mark.parametrize("name", [box for box in BOXES if box != "digest"])
def test_a_box_uses_its_verb_and_tells_the_dashboard(name):
    assert {name, "dashboard"} <= set(modules_of(name))


@pytest.mark.parametrize(
    ("module", "moved"),
    [
        ("reporting/page.py", {"report"}),
        ("pool.py", {"pool"}),
        ("gans/losses.py", {"synthesize", "train_generator"}),  # whoever builds a network takes all of gans/
        (
            "objectstore.py",
            {"digest", "ingest", "train_classifier", "train_generator"},
        ),  # the last two keep checkpoints there
        ("dashboard.py", set(BOXES) - {"digest"}),
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
