"""How every box is made: a function with a short body, an image, nothing installed at start."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl

from syntrial.identity import code_digest, imports_of


def component(box: str) -> Callable[[Callable[..., Any]], Any]:
    """A box: the function in the file of its name, which calls one verb and tells the dashboard the verb's numbers.

    Its image's tag holds the hash of the code it uses, because the engine's cache looks at the tag and not at the code.
    """
    return dsl.component(base_image=f"syntrial-python-{box}:{box_digest(box)}", install_kfp_package=False)


def box_digest(box: str) -> str:
    """Hash of all code of the package that a box can reach; 16 hexadecimal digits."""
    return hashlib.sha256("".join(map(code_digest, modules_of(box))).encode()).hexdigest()[:16]


def modules_of(box: str) -> list[str]:
    """The modules of syntrial that the box's body imports."""
    return sorted(set(imports_of(Path(__file__).with_name(f"{box}.py"))))
