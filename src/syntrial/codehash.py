"""Which code made a result: a hash over one module and all of the package that it imports, so that a cache forgets
just in time.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
LIBRARIES = ("numpy", "pillow", "torch", "pydantic", "matplotlib", "pydicom")  # those whose version can move a number


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
    """The modules of syntrial that a file imports, wherever in it."""
    wanted: list[str] = []
    for node in _import_statements(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            wanted += [
                alias.name.removeprefix("syntrial.") for alias in node.names if alias.name.startswith("syntrial.")
            ]
        elif (node.module or "").split(".")[0] == "syntrial":
            base = (node.module or "").removeprefix("syntrial").removeprefix(".")
            names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
            beyond = [name for name in names if not _path(name, package).is_file()]  # what the package itself defines
            wanted += [*([base] if base or beyond else []), *names]
    return [part for part in wanted if _path(part, package).is_file()]


@cache
def _import_statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]


def _path(name: str, package: Path) -> Path:
    """Of a module, or of the package itself ("")."""
    base = package.joinpath(*name.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
