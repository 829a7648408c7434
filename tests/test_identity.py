"""A cache forgets a box when the code that it runs has changed, and not before."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from syntrial import identity
from syntrial.identity import code_digest, imports_of, sources

# A package in small, with every form of import.
MODULES = {
    "verb": "import numpy\nfrom syntrial import noun\nfrom syntrial.named import thing\nimport syntrial.plain\n"
    "from syntrial.box import part\n\ndef later():\n    from syntrial.lazy import thing\n",
    "noun": "from syntrial.deep import DEPTH\n",
    "deep": "from syntrial import noun\n",  # in a circle
    "named": "",
    "plain": "",
    "lazy": "",
    "box/__init__": "from syntrial.box import inner\n",
    "box/part": "",
    "box/inner": "",
    "other": "from syntrial import verb\n",
}
USED = set(MODULES) - {"other"}


@pytest.fixture
def package(tmp_path):
    for name, text in MODULES.items():
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path / "package"


def with_change_in(package, name):
    """A copy with a change in a module."""
    copy = shutil.copytree(package, package.with_name("changed"), ignore=shutil.ignore_patterns("__pycache__"))
    (copy / f"{name}.py").write_text(
        (copy / f"{name}.py").read_text(encoding="utf-8") + "# changed\n", encoding="utf-8"
    )
    return copy


@pytest.mark.parametrize("name", sorted(USED))
def test_a_change_in_what_is_imported_changes_the_digest(name, package):
    assert code_digest("verb", with_change_in(package, name)) != code_digest("verb", package)


@pytest.mark.parametrize("name", sorted(set(MODULES) - USED))
def test_a_change_in_what_is_not_imported_does_not(name, package):
    assert code_digest("verb", with_change_in(package, name)) == code_digest("verb", package)


def test_the_packages_own_text_counts_where_something_of_it_is_used_and_nowhere_else(package):
    (package / "footer.py").write_text("from syntrial import VERSION, noun\n", encoding="utf-8")
    (package / "__init__.py").write_text("VERSION = 1\n", encoding="utf-8")
    changed = with_change_in(package, "__init__")
    assert code_digest("footer", changed) != code_digest("footer", package)
    assert code_digest("verb", changed) == code_digest("verb", package)


def test_the_optimisers_code_counts_where_networks_learn_and_nowhere_else(tmp_path):
    real = shutil.copytree(identity.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    changed = with_change_in(real, "adam")
    assert code_digest("train_generator", real) == code_digest("train_generator", identity.PACKAGE)
    assert code_digest("train_generator", real) != code_digest("train_generator", changed)
    assert code_digest("split", real) == code_digest("split", changed)


def test_the_digest_is_the_same_in_every_process():
    code = "from syntrial.identity import code_digest; print(code_digest('split'))"
    environment = {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == code_digest("split")


def test_a_digest_is_sixteen_hexadecimal_digits_and_tells_verbs_apart():
    assert len(code_digest("split")) == 16 and int(code_digest("split"), 16)
    assert code_digest("split") != code_digest("pool")


def test_a_file_reaches_what_it_imports_wherever_in_it_and_what_that_imports(package, tmp_path):
    (tmp_path / "box.py").write_text("import os\n\ndef box():\n    from syntrial.noun import thing\n", encoding="utf-8")
    assert imports_of(tmp_path / "box.py", package) == ["noun"]
    assert sources(["noun"], package) == b"deep" + MODULES["deep"].encode() + b"noun" + MODULES["noun"].encode()


def test_imports_are_found_by_their_text_as_python_finds_them():
    root = identity.PACKAGE.parents[1]
    files = [path for folder in ("src", "components", "pipelines") for path in (root / folder).rglob("*.py")]
    assert len(files) > 80
    for path in files:
        assert set(imports_of(path)) == {
            name for name in imported(path) if identity._path(name, identity.PACKAGE).is_file()
        }


@pytest.mark.parametrize(
    "text",
    [
        "import os, syntrial.plain as p",
        "from syntrial import (\n    plain,  # not noun\n)",
        "from syntrial.plain import \\\n    a, b",
        "from syntrial import \\\n    plain",
        "if True: from syntrial import plain",
        "a = 1; import syntrial.plain; b = 2",
        "from  syntrial   import plain  as  p  # and (more",
        "from syntrial.plain import*",
        "# a late import\nfrom syntrial import plain",
        "from syntrial import (  # noun (or not)\n    plain,\n)",
        "from syntrial.plain import (a,  # a) first\n    b)\n",
    ],
)
def test_any_form_of_import_is_found(text, package, tmp_path):
    (tmp_path / "box.py").write_text(f'"""Text."""\n{text}\n', encoding="utf-8")
    assert set(imports_of(tmp_path / "box.py", package)) - {""} == {"plain"}


def imported(path):
    """Modules of syntrial and names in them, by Python's own grammar."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name[9:] for alias in node.names if alias.name.startswith("syntrial."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "syntrial":
            base = node.module[9:]
            names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            yield from names
            if base or not all(identity._path(name, identity.PACKAGE).is_file() for name in names):
                yield base
