"""Which code made a result: a hash of the code that computes, so that a cached result is used until it could differ.

It covers the text of a module and of all modules of the package that it imports, without docstrings, comments and blank
lines, and without the modules in NEUTRAL; and the versions of Python and of the libraries that they import.
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

# Modules that only report, show or transfer what others compute; the name of a room includes all its modules. They
# cannot change a result, so neither they nor their imports are part of an identity.
NEUTRAL = frozenset({"cli", "errors", "progress", "reporting.dashboard", "store"})

# Files that are part of a module although Python does not import them.
DATA = {"reporting.page": "reporting/templates"}

# Libraries whose version can change a result: name in imports -> name of the distribution.
LIBRARIES = {
    "PIL": "pillow",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pydicom": "pydicom",
    "torch": "torch",
}

# Patterns, because each training box hashes its code when it starts: parsing twenty modules takes 0.05 to 0.2 s.
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


# Rooms whose modules are chosen by name, from a registry: importing the module means depending on the whole room.
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
    """What modules of syntrial and all their imports compute: the name and `meaning` of each, sorted by name."""
    parts = []
    for name in reached(modules, package):
        parts += [name, meaning(_path(name, package).read_text(encoding="utf-8"))]
        for path in sorted((package / DATA[name]).rglob("*.*")) if name in DATA else ():
            parts += [path.name, path.read_text(encoding="utf-8")]
    return "\0".join(parts).encode()


def reached(modules: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """The given modules of syntrial and all their imports, without neutral ones, sorted by name."""
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name not in found and not is_neutral(name):
            found.add(name)
            waiting += imports_of(_path(name, package), package)
    return sorted(found)


def is_neutral(name: str) -> bool:
    """Whether a module, or a room that contains it, is in NEUTRAL."""
    parts = name.split(".")
    return any(".".join(parts[:depth]) in NEUTRAL for depth in range(1, len(parts) + 1))


def libraries(modules: Iterable[str], package: Path = PACKAGE) -> list[str]:
    """The distributions in LIBRARIES that the modules import directly."""
    texts = (_path(name, package).read_text(encoding="utf-8") for name in modules)
    return sorted({LIBRARIES[name] for text in texts for name in OUTSIDE.findall(text) if name in LIBRARIES})


def meaning(text: str) -> str:
    """A module's text without what cannot change a result: docstrings, comments, blank lines, spaces at line ends.

    A docstring is a string on lines of its own, outside of all brackets, that follows a colon or is the first code of
    the module.
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
    """Whether a string is a docstring, by the code between it and the string before, and by the next character."""
    code, _, indent = before.rpartition("\n")
    return not indent.strip() and after in ("\n", "") and (not code.strip() or code.rstrip().endswith(":"))


def imports_of(path: Path, package: Path = PACKAGE) -> list[str]:
    """The modules of syntrial that a file imports anywhere; text that looks like an import statement counts too."""
    wanted: list[str] = []
    for base, names in _import_statements(path.read_text(encoding="utf-8")):
        inner = [f"{base}.{name}".strip(".") for name in names]
        beyond = [name for name in inner if not _path(name, package).is_file()]  # names that the package itself defines
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
    """For each import from syntrial: its module ("": the package), and the imported names."""
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
    """The file of a module, or of the package itself ("")."""
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
