"""A cache forgets a box when what it computes with has changed, and not before."""

import ast
import io
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from syntrial import identity
from syntrial.classifiers.settings import CLASSIFIERS
from syntrial.generators.settings import ARCHITECTURES
from syntrial.identity import NEUTRAL, code_digest, imports_of, is_neutral, libraries, meaning, reached, sources

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
ROOT = identity.PACKAGE.parents[1]
FILES = [path for folder in ("src", "components", "pipelines", "tests") for path in (ROOT / folder).rglob("*.py")]


@pytest.fixture
def package(tmp_path):
    for name, text in MODULES.items():
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / f"{name}.py").write_text(text, encoding="utf-8")
    return tmp_path / "package"


def with_change_in(package, name):
    """A copy with a change in a module."""
    copy = shutil.copytree(package, package.with_name("changed"), ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / f"{name}.py").open("a", encoding="utf-8") as file:
        file.write("changed = True\n")
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
    changed = with_change_in(real, "training/adam")
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
    assert reached(["noun"], package) == ["deep", "noun"]
    assert (
        sources(["noun"], package)
        == "\0".join(["deep", MODULES["deep"].strip(), "noun", MODULES["noun"].strip()]).encode()
    )


def test_imports_are_found_by_their_text_as_python_finds_them():
    assert len(FILES) > 80
    for path in FILES:
        if "tests" in path.parts:
            continue
        by_name = {  # of a room whose modules are chosen by name
            identity._name(module, identity.PACKAGE)
            for chooser, room in identity.CHOSEN.items()
            if path == identity._path(chooser, identity.PACKAGE)
            for module in (identity.PACKAGE / room).rglob("*.py")
        }
        stated = {name for name in imported(path) if identity._path(name, identity.PACKAGE).is_file()}
        rooms = {name.rpartition(".")[0] for name in stated} - {""}
        assert set(imports_of(path)) == stated | rooms | by_name


def test_no_module_imports_by_a_place_that_only_python_knows():
    for path in (path for path in FILES if "tests" not in path.parts):
        imports = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom))
        assert not [node for node in imports if node.level], path


@pytest.mark.parametrize("place", ["generators/diffusion/__init__", "generators/diffusion/unet", "generators/_shapes"])
def test_whatever_lies_in_a_room_of_families_is_part_of_what_trains(place, tmp_path):
    real = shutil.copytree(identity.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    (real / place).parent.mkdir(exist_ok=True)
    (real / f"{place}.py").write_text("changed = False\n", encoding="utf-8")
    assert code_digest("train_generator", real) != code_digest("train_generator", with_change_in(real, place))


def test_what_is_chosen_by_name_lies_in_the_room_that_counts_for_it():
    learners = [family.learner for family in ARCHITECTURES.values()]
    networks = [architecture.network for architecture in CLASSIFIERS.values()]
    assert all(name.startswith("syntrial.generators.") for name in learners)
    assert all(name.startswith("syntrial.classifiers.") for name in networks)


def test_the_text_of_a_room_counts_since_python_runs_it_on_the_way_to_its_modules(tmp_path):
    real = shutil.copytree(identity.PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    assert code_digest("split", real) != code_digest("split", with_change_in(real, "training/__init__"))


def test_a_network_that_is_chosen_by_name_is_part_of_what_trains_it_and_of_nothing_else():
    assert "classifiers.cnn" in reached(["train_classifier"]) and "classifiers.cnn" in reached(["score"])
    assert "classifiers.cnn" not in reached(["split"]) and "classifiers.cnn" not in reached(["train_generator"])


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


# What counts


def test_docstrings_and_comments_are_removed_as_python_finds_them():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert tokens(meaning(text)) == tokens(text, without=set(docstrings(text))), path


@pytest.mark.parametrize(
    "changed",
    [
        '"""Another text."""\n\ndef area(side):\n    """Of a square."""\n    return side**2  # px\n',
        "def area(side):\n\n    # a reason\n    return side**2\n",
        "def area(side):   \n    return side**2",
    ],
)
def test_what_only_explains_is_no_part_of_an_identity(changed):
    assert meaning(changed) == meaning("def area(side):\n    return side**2\n")


@pytest.mark.parametrize(
    "changed",
    [
        "def area(side):\n    return side**3\n",
        "def area(side):\n    return side**2\nside = 1\n",
        'def area(side):\n    return side**2 + len("# 2")\n',
        'NAME = """\n\n"""\ndef area(side):\n    return side**2\n',
    ],
)
def test_whatever_computes_is_part_of_an_identity(changed):
    assert meaning(changed) != meaning("def area(side):\n    return side**2\n")


def test_a_value_that_stands_alone_on_its_line_is_no_docstring():
    assert meaning('UNITS = {\n    "side":\n    "px"\n}\n') != meaning('UNITS = {\n    "side":\n    "mm"\n}\n')


def test_blank_lines_within_a_string_count():
    assert meaning('TEXT = """a\n\nb"""\n') != meaning('TEXT = """a\nb"""\n')


def test_only_modules_that_exist_are_said_to_only_report():
    assert all(identity._path(name, identity.PACKAGE).is_file() for name in NEUTRAL)


def test_a_library_counts_where_code_imports_it():
    assert "torch" in libraries(reached(["train_generator"]))
    assert "matplotlib" not in libraries(reached(["train_generator"]))
    assert "matplotlib" in libraries(reached(["report"]))
    assert "torch" not in libraries(reached(["split"]))


def test_every_library_that_code_imports_is_in_the_list_or_computes_nothing():
    names = [path.relative_to(identity.PACKAGE).with_suffix("").as_posix() for path in identity.PACKAGE.rglob("*.py")]
    modules = [name.removesuffix("/__init__").replace("/", ".") for name in names if name != "__init__"]
    computing = [name for name in modules if not is_neutral(name)]
    outside = {name for module in computing for name in identity.OUTSIDE.findall(source_of(module))}
    plain = {"safetensors", "yaml", "pydantic_core"}  # they carry values unchanged, or come with one that is listed
    assert outside - sys.stdlib_module_names - {"syntrial"} - plain <= set(identity.LIBRARIES)


def source_of(module):
    return "\n".join(
        line
        for line in meaning(identity._path(module, identity.PACKAGE).read_text(encoding="utf-8")).splitlines()
        if line.lstrip().startswith(("import ", "from "))
    )


def tokens(text, without=()):
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return [one.string for one in found if one.type not in layout and one.start not in without]


def docstrings(text):
    """Where each begins, by Python's own grammar."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            yield (node.body[0].lineno, node.body[0].col_offset)


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
