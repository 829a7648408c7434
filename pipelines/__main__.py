"""`syntrial COMMAND`, and `python -m pipelines COMMAND`: whole studies, and each verb by hand, through one parser."""

import sys

from syntrial import cli


def main(words: list[str] | None = None) -> int:
    """Runs a command. Returns its exit code, as `syntrial.cli.main` has it."""
    words = sys.argv[1:] if words is None else words
    if words and words[0] in cli.VERBS:
        return cli.main(words)  # without what only whole studies need: kfp alone takes seconds to import
    from pipelines.bench import command as bench
    from pipelines.cluster import compile, schedule, status, submit
    from pipelines.local import run

    return cli.main(words, [module.add_to for module in (run, compile, submit, schedule, status, bench)])


if __name__ == "__main__":
    sys.exit(main())
