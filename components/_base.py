"""Turns a function with a short body into a box: it gets a container image and installs nothing at start."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl

from syntrial.identity import code_digest, imports_of


def component(box: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator for a box: a function in the file of the same name, which calls one verb and logs the verb's numbers.

    The tag of its image contains the hash of the code it uses, because the engine's cache compares tags, not code.
    """
    return dsl.component(base_image=f"syntrial-python-{box}:{box_digest(box)}", install_kfp_package=False)


def box_digest(box: str) -> str:
    """Hash of all code of the package that a box can reach; 16 hexadecimal digits."""
    return hashlib.sha256("".join(map(code_digest, modules_of(box))).encode()).hexdigest()[:16]


def modules_of(box: str) -> list[str]:
    """The modules of syntrial that the box's body imports."""
    return sorted(set(imports_of(Path(__file__).with_name(f"{box}.py"))))
