"""Seeds as functions of named parts, so that no random state has to be saved to resume or repeat a run."""

import hashlib


def seed_for(*parts: object) -> int:
    """A number in [0, 2**63) that depends on the parts alone, such as (seed, "gan", step). Different parts give
    unrelated numbers.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def uniform_for(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return seed_for(*parts) / 2**63
