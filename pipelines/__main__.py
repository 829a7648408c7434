"""`syntrial COMMAND` and `python -m pipelines COMMAND`: whole studies and single verbs, through one parser."""

import sys

from syntrial import cli


def main(words: list[str] | None = None) -> int:
    """Runs a command. Returns the exit code of `syntrial.cli.main`."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] in cli.VERBS:
        return cli.main(words)  # a verb needs no kfp, which takes seconds to import
    from pipelines.bench import command as bench
    from pipelines.cluster import compile, schedule, status, submit
    from pipelines.local import run

    return cli.main(words, [module.add_to for module in (run, compile, submit, schedule, status, bench)])


if __name__ == "__main__":
    sys.exit(main())
