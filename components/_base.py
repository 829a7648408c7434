"""How every box is made: a function with a three-line body, an image, nothing installed at start."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from syntrial.codehash import code_digest


def component(verb: str) -> Callable[[Callable[..., Any]], Any]:
    """A box that calls one verb and tells the dashboard the verb's numbers.

    Its image's tag holds the hash of the verb's code, because the engine's cache looks at the tag and not at the code.
    The numbers are written to a file too, because that cache takes a box for undone when one of its outputs is not on
    disk.
    """
    return dsl.component(base_image=f"syntrial-python-{verb}:{code_digest(verb)}", install_kfp_package=False)
