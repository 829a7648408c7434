"""What all commands share: one sentence for a user's mistake, exit codes, and a help in groups."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from syntrial.errors import ConfigError, SyntrialError
from syntrial.store import atomic

Flags = argparse.Namespace

OWN = ("-h", "--help", "--version")  # the flags that stand without a command

# What the light image leaves out.
HEAVY = ("torch", "safetensors")


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake as one sentence, without the usage page."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        raise ConfigError(f"{message}; see {self.prog} --help")


class Group:
    """Commands under a heading of their own in the help; argparse offers this for flags only."""

    def __init__(self, heading: str, subparsers: Any) -> None:
        self.heading, self._subparsers = heading, subparsers
        self.commands: dict[str, str] = {}  # name -> help

    def add_parser(self, name: str, help: str, **more: Any) -> Any:
        """As the method of argparse's subparsers."""
        self.commands[name] = help
        return self._subparsers.add_parser(name, **more)

    def __str__(self) -> str:
        return "\n".join([f"{self.heading}:", *(f"  {name:18}{what}" for name, what in self.commands.items())])


def number_of(unit: str, most: int, least: int = 1) -> Callable[[str], int]:
    """The type of a flag that takes a whole number."""

    def parsed(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number of {unit} from {least} to {most}")
        return int(text)

    return parsed


def run(parser: Parser, words: list[str] | None = None) -> int:
    """Parses the command line (default: sys.argv) and runs its `command`. Returns the exit code."""
    flags = Flags(verb="syntrial", stopped="")
    words = sys.argv[1:] if words is None else words
    try:
        _refuse_early_flag(words)
        parser.parse_args(words, flags)
        code: int = flags.command(flags)
        sys.stdout.flush()
        return code
    except SyntrialError as error:
        return _mistake(str(error))
    except ModuleNotFoundError as error:
        if error.name not in HEAVY:
            raise
        return _mistake(f"{flags.verb} needs {error.name}, which is not installed; run pip install {error.name}")
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in atomic.FULL:
            raise
        return _mistake(": ".join(filter(None, (error.filename, error.strerror))))
    except KeyboardInterrupt:
        print("; ".join(filter(None, ("stopped", flags.stopped))), file=sys.stderr)
        return 130


def _refuse_early_flag(words: list[str]) -> None:
    """Raises ConfigError for a flag of a command that stands before the command."""
    if words and words[0].startswith("-") and words[0] not in OWN:
        raise ConfigError(f"{words[0]} stands before the command; flags follow it, such as syntrial run {words[0]} ...")


def _mistake(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2
