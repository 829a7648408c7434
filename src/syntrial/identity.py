"""Which code made a result: a hash over one module and all of the package that it imports, so that a cache forgets
just in time.
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
LIBRARIES = ("numpy", "pillow", "torch", "pydantic", "matplotlib", "pydicom")  # those whose version can move a number

# By pattern, because each training box hashes its code when it starts: parsing twenty modules takes 0.2 s.
IMPORT = re.compile(
    r"\bfrom\s+syntrial(?P<base>[\w.]*)\s+import\s*(?:\((?P<inside>(?:[^)#]|#[^\n]*)*)\)|(?P<names>(?:\\\n|[^\n;])+))"
    r"|\bimport[^\S\n]+(?P<modules>(?:\\\n|[^\n;])+)"
)


@cache
def code_digest(module: str, package: Path = PACKAGE) -> str:
    """Hash of `syntrial.<module>`, everything of syntrial it imports, and the versions of Python and the libraries
    beneath.

    Equal as long as nothing changed that could change what the module computes; 16 hexadecimal digits.
    """
    hasher = hashlib.sha256(platform.python_version().encode() + sources([module], package))
    for library in LIBRARIES:
        hasher.update(f"{library} {_version(library)}".encode())
    return hasher.hexdigest()[:16]


def sources(modules: Iterable[str], package: Path = PACKAGE) -> bytes:
    """Modules of syntrial and everything of it that they import, each by its name and its text, in one order."""
    found: set[str] = set()
    waiting = [*modules]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports_of(_path(name, package), package)
    return b"".join(name.encode() + _path(name, package).read_bytes() for name in sorted(found))


def imports_of(path: Path, package: Path = PACKAGE) -> list[str]:
    """The modules of syntrial that a file imports, wherever in it; a sentence that reads like it counts as well."""
    wanted: list[str] = []
    for base, names in _import_statements(path.read_text(encoding="utf-8")):
        inner = [f"{base}.{name}".strip(".") for name in names]
        beyond = [name for name in inner if not _path(name, package).is_file()]  # what the package itself defines
        wanted += [*([base] if base or beyond else []), *inner]
    return [part for part in wanted if _path(part, package).is_file()]


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


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
