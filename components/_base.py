"""How every box is made: a function with a three-line body, an image, nothing installed at start."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from syntrial.codehash import code_digest


def component(verb: str) -> Callable[[Callable[..., Any]], Any]:
    """A box that calls one verb. Its image's tag holds the hash of the verb's code, because the engine's cache looks at the tag and
    not at the code."""
    return dsl.component(base_image=f"syntrial-python-{verb}:{code_digest(verb)}", install_kfp_package=False)
