"""`python -m pipelines COMMAND`: one set of flags for every way to run a study."""

import argparse
import os
import sys

from pipelines.bench import command as bench
from pipelines.cluster import compile, schedule, status, submit
from pipelines.local import run
from syntrial.errors import SyntrialError


def main(words: list[str] | None = None) -> int:
    """Exit code 0 when all went well, 2 for what a person can mend, 1 for a failed run, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="Run studies of synthetic training images")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (run, compile, submit, schedule, status, bench):
        module.add_to(commands)
    flags = parser.parse_args(words)
    try:
        code = int(flags.command(flags))
        sys.stdout.flush()
        return code
    except SyntrialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read this, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
