"""Lines on stderr that hold no secret, and that end no training where nobody reads them."""

from __future__ import annotations

import contextlib
import os
import re
import sys

from syntrial.errors import SyntrialError
from syntrial.progress.lifeline import Orphaned


def log_line(sentence: str) -> None:
    """Prints a line on stderr, unless that is closed."""
    with contextlib.suppress(OSError):  # stderr is closed
        print(without_secrets(sentence), file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """An error in at most 500 characters, without line ends."""
    text = str(error) if isinstance(error, SyntrialError | Orphaned) else f"{type(error).__name__}: {error}"
    return without_secrets(" ".join(text.split())[:500].removesuffix(":"))


def without_secrets(text: str) -> str:
    """A text with *** in place of passwords in URLs and of what the environment holds under such names."""
    for name, value in os.environ.items():
        if re.search("SECRET|PASSWORD|TOKEN|KEY|CREDENTIAL", name.upper()) and len(value) >= 6:
            text = text.replace(value, "***")
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", text)
