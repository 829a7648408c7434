"""Which code made a result: a hash of what computes, so that a cache forgets exactly when a result could differ.

What computes is the text of a module and of all modules of the package that it imports, without docstrings, comments
and blank lines, and without the modules in TELLING; and the versions of Python and of the libraries these import.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

# Modules that report, show or move what others compute; a room's name stands for all of it. No result can differ by
# them: they are neither part of an identity nor followed to what they import.
TELLING = frozenset({"cli", "errors", "progress", "reporting.dashboard", "store"})

# Files that are part of a module although Python does not import them.
DATA = {"reporting.page": "reporting/templates"}

# Libraries whose version can change a result, by the name under which code imports them.
LIBRARIES = {
    "PIL": "pillow",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pydicom": "pydicom",
    "torch": "torch",
}

# By pattern, because each training box hashes its code when it starts: parsing twenty modules takes 0.05 to 0.2 s.
IMPORT = re.compile(
    r"\bfrom\s+syntrial(?P<base>[\w.]*)\s+import\s*(?:\((?P<inside>(?:[^)#]|#[^\n]*)*)\)|(?P<names>(?:\\\n|[^\n;])+))"
    r"|\bimport[^\S\n]+(?P<modules>(?:\\\n|[^\n;])+)"
)
OUTSIDE = re.compile(r"^\s*(?:from|import)\s+(\w+)", re.MULTILINE)
LITERAL = re.compile(
    r"(?P<text>[rRbBfFuU]{0,2}(?:"
    r'"""(?:\\.|[^\\])*?"""|'
    r"'''(?:\\.|[^\\])*?'''|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'(?:\\.|[^'\\\n])*'))"
    r"|#[^\n]*",
    re.DOTALL,
)
BLANK = re.compile(r"[^\S\n]*\n(?:[^\S\n]*\n)*")


# A room whose modules are chosen by name, from a registry: whoever imports the module depends on the whole room.
CHOSEN = {"generators.seam": "generators", "classifiers.trained": "classifiers"}


@cache
def code_digest(module: str, package: Path = PACKAGE) -> str:
    """A fingerprint of what `syntrial.<module>` computes with: equal code and library versions, equal digest.

    Returns:
        16 hexadecimal digits.
    """
    hasher = hashlib.sha256(platform.python_version().encode() + sources([module], package))
    for library in libraries(reached([module], package), package):
        hasher.update(f"{library} {_version(library)}".encode())
    return hasher.hexdigest()[:16]


def sources(modules: Iterable[str], package: Path = PACKAGE) -> bytes:
    """What modules of syntrial and all that they import compute: each by its name and its meaning, in one order."""
    parts = []
    for name in reached(modules, package):
        parts += [name, meaning(_path(name, package).read_text(encoding="utf-8"))]
        for path in sorted((package / DATA[name]).rglob("*.*")) if name in DATA else ():
            parts += [path.name, path.read_text(encoding="utf-8")]
    return "\0".join(parts).encode()


def reached(modules: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """The modules of syntrial that compute among the given ones and all that they import, sorted by name."""
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name not in found and not is_telling(name):
            found.add(name)
            waiting += imports_of(_path(name, package), package)
    return sorted(found)


def is_telling(name: str) -> bool:
    """Whether a module is, or lies in a room that is, in TELLING."""
    parts = name.split(".")
    return any(".".join(parts[:depth]) in TELLING for depth in range(1, len(parts) + 1))


def libraries(modules: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """The distributions among LIBRARIES that the modules import themselves."""
    texts = (_path(name, package).read_text(encoding="utf-8") for name in modules)
    return sorted({LIBRARIES[name] for text in texts for name in OUTSIDE.findall(text) if name in LIBRARIES})


def meaning(text: str) -> str:
    """A module's text without what cannot change a result: docstrings, comments, blank lines, spaces at line ends.

    A docstring is a string that follows a colon, or nothing, and stands on lines of its own, outside of all brackets.
    """
    parts: list[str] = []
    code, end, depth = "", 0, 0
    for literal in LITERAL.finditer(text):
        between = text[end : literal.start()]
        code += between
        end = literal.end()
        depth += sum(map(between.count, "([{")) - sum(map(between.count, ")]}"))
        lone = depth == 0 and _is_docstring(code if code.strip() or not parts else ".", text[end : end + 1])
        if literal["text"] and not lone:
            parts += [BLANK.sub("\n", code), literal["text"]]
            code = ""
    return "".join([*parts, BLANK.sub("\n", code + text[end:])]).strip()


def _is_docstring(before: str, after: str) -> bool:
    """Whether a string is one, by the code since the string before it and by the character that follows."""
    code, _, indent = before.rpartition("\n")
    return not indent.strip() and after in ("\n", "") and (not code.strip() or code.rstrip().endswith(":"))


def imports_of(path: Path, package: Path = PACKAGE) -> list[str]:
    """The modules of syntrial that a file imports, wherever in it; a sentence that reads like an import counts too."""
    wanted: list[str] = []
    for base, names in _import_statements(path.read_text(encoding="utf-8")):
        inner = [f"{base}.{name}".strip(".") for name in names]
        beyond = [name for name in inner if not _path(name, package).is_file()]  # what the package itself defines
        wanted += [*([base] if base or beyond else []), *inner]
    for name in [*wanted]:  # Python runs the text of each room on the way to a module in it
        parts = name.split(".")
        wanted += [".".join(parts[:depth]) for depth in range(1, len(parts))]
    for module, room in CHOSEN.items():
        if path == _path(module, package):
            wanted += sorted(_name(chosen, package) for chosen in (package / room).rglob("*.py"))
    return [part for part in dict.fromkeys(wanted) if _path(part, package).is_file()]


@cache
def _import_statements(text: str) -> list[tuple[str, list[str]]]:
    """Of each import from syntrial: the module beneath it ("": the package), and the names taken from there."""
    found: list[tuple[str, list[str]]] = []
    for statement in IMPORT.finditer(text):
        listed = re.sub(r"#.*", "", statement["inside"] or statement["names"] or statement["modules"])
        names = [words[0] for words in map(str.split, listed.replace("\\\n", " ").split(",")) if words]
        if statement["modules"]:
            found += [(name.removeprefix("syntrial."), []) for name in names if name.startswith("syntrial.")]
        else:
            found.append((statement["base"].removeprefix("."), names))
    return found


def _path(name: str, package: Path) -> Path:
    """Of a module, or of the package itself ("")."""
    base = package.joinpath(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _name(path: Path, package: Path) -> str:
    """The inverse of `_path`."""
    return ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
