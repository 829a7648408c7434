"""`syntrial VERB`: runs a single verb, from folders to a folder. Only the graph knows the order of the verbs.

Other packages can add commands to the same parser: `pipelines` adds those that run whole studies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syntrial import __version__, commandline
from syntrial.arms import PROTOCOLS
from syntrial.commandline import Flags, Group, Parser, number_of
from syntrial.errors import DataError

if TYPE_CHECKING:
    from syntrial.config import StudyConfig

Numbers = dict[str, float]


def main(words: list[str] | None = None, commands: Iterable[Callable[[Group], None]] = ()) -> int:
    """Runs a verb or a command. Only its result goes to stdout.

    Args:
        words: the command line; default sys.argv.
        commands: functions that add commands; each command's flags have `command`, a function flags -> exit code.

    Returns:
        Exit code: 0 for success, 2 for an error that the user can correct, 1 for a failed run, 130 after Ctrl-C.
    """
    return commandline.run(_parser(commands), words)


def _parser(commands: Iterable[Callable[[Group], None]]) -> Parser:
    whole = Parser(
        prog="syntrial",
        description="A controlled trial for synthetic training images",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"syntrial {__version__}")
    subparsers = whole.add_subparsers(required=True, metavar="COMMAND", dest="verb", help="one of those below")
    studies, verbs = Group("whole studies", subparsers), Group("verbs, by hand", subparsers)
    for add_to in commands:
        add_to(studies)
    for add_to in VERBS.values():
        add_to(verbs)
    whole.epilog = "\n\n".join(str(group) for group in (studies, verbs) if group.commands)
    return whole


def _add(verbs: Group, name: str, summary: str, run: Callable[[Flags], Numbers], settings: str = "") -> Any:
    """Adds a verb with the flags that all verbs share. `settings`: the settings of a study that it uses."""
    parser = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
    if settings:
        parser.add_argument(
            "--study", default="", metavar="FILE", help="study with the settings (default: all defaults)"
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"change a setting; used here: {settings}",
        )
    trains = name.startswith("train")
    parser.set_defaults(
        command=lambda flags: _do(run, flags),
        stopped="the same command continues from the last checkpoint" if trains else "nothing was written",
    )
    return parser


def _do(run: Callable[[Flags], Numbers], flags: Flags) -> int:
    if "out" in flags:
        flags.out = _followed(flags.out)
        _refuse_foreign(flags.out, flags.verb)
    for name, value in run(flags).items():
        print(name, _figure(value))
    return 0


def _digest(verbs: Group) -> None:
    parser = _add(verbs, "digest", "URIs -> digest of the data at each, 64 hexadecimal digits", _run_digest)
    parser.add_argument("data", nargs="+", help="folder, archive or manifest: a path, s3:// or minio://")


def _run_digest(flags: Flags) -> Numbers:
    from syntrial.digest import digest

    for uri, found in zip(flags.data, digest(*flags.data), strict=True):
        print(found, uri)
    return {}


def _ingest(verbs: Group) -> None:
    parser = _add(verbs, "ingest", "raw files -> image set", _run_ingest, "side, classes, ingest.*")
    parser.add_argument("data", help="folder, archive or manifest: a path, s3:// or minio://")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--side", type=_px, help="px (default: the study's)")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="(default: the study's)")
    parser.add_argument("--name", default="images", help="name of the set (default: %(default)s)")


def _run_ingest(flags: Flags) -> Numbers:
    from syntrial.ingest import ingest

    study = _study(flags)
    return ingest(
        flags.data,
        flags.out,
        side=flags.side or study.side,
        classes=flags.classes or study.classes,
        config=study.ingest,
        name=flags.name,
    )


def _split(verbs: Group) -> None:
    parser = _add(
        verbs, "split", "image set + protocol -> the same, divided into train, val and test", _run_split, "split.*"
    )
    parser.add_argument("images", help="image set")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--external", default="", metavar="SET", help="image set that becomes a second test set")


def _run_split(flags: Flags) -> Numbers:
    from syntrial.split import split

    config = _study(flags).split
    return split(flags.images, flags.out, protocol=flags.protocol, config=config, external=flags.external)


def _train_generator(verbs: Group) -> None:
    parser = _add(
        verbs, "train-generator", "image set -> generator of one class", _run_train_generator, "generators.KIND.*"
    )
    parser.add_argument("images", help="image set")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--kind", required=True, metavar="NAME", help="a generator of the study, such as simple")
    parser.add_argument("--label", required=True, help="class to learn from; '*' for one conditional generator of all")
    parser.add_argument("--start", default="", metavar="GENERATOR", help="trained generator to continue")


def _run_train_generator(flags: Flags) -> Numbers:
    from syntrial.train_generator import train_generator

    config = _study(flags).generators[flags.kind]
    return train_generator(
        flags.images, flags.out, kind=flags.kind, label=flags.label, config=config, start=flags.start
    )


def _synthesize(verbs: Group) -> None:
    parser = _add(verbs, "synthesize", "generator -> image set", _run_synthesize, "images_per_class")
    parser.add_argument("generator", help="output of train-generator")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--count", type=int, help="images of each class (default: the study's images_per_class)")


def _run_synthesize(flags: Flags) -> Numbers:
    from syntrial.synthesize import synthesize

    return synthesize(flags.generator, flags.out, count=_study(flags, images_per_class=flags.count).images_per_class)


def _pool(verbs: Group) -> None:
    parser = _add(verbs, "pool", "divided real images + synthetic sets -> one image set", _run_pool, "split.*")
    parser.add_argument("real", help="image set, output of split")
    parser.add_argument("out", help="folder to write")
    parser.add_argument("--synthetic", nargs="+", default=[], metavar="SET", help="image sets, outputs of synthesize")


def _run_pool(flags: Flags) -> Numbers:
    from syntrial.pool import pool

    return pool(flags.real, flags.synthetic, flags.out, config=_study(flags).split)


def _train_classifier(verbs: Group) -> None:
    used, summary = "seeds, classifier.*, conventional.*", "pooled set + arm -> classifiers, curves, predictions"
    parser = _add(verbs, "train-classifier", summary, _run_train_classifier, used)
    parser.add_argument("images", help="image set, output of pool; or of split, held out and without generated images")
    parser.add_argument("out", help="folder to write")
    arm = "a preset, or an arm such as 'half: add=simple dose=0.5' (default: %(default)s)"
    parser.add_argument("--arm", default="original", help=arm)
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="(default: the study's)")


def _run_train_classifier(flags: Flags) -> Numbers:
    from syntrial.train_classifier import train_classifier

    study = _study(flags, seeds=flags.seeds)
    return train_classifier(
        flags.images,
        flags.out,
        arm=flags.arm,
        seeds=study.seeds,
        config=study.classifier,
        augmentation=study.conventional,
    )


def _score(verbs: Group) -> None:
    parser = _add(verbs, "score", "trained classifier + image set -> predictions, numbers", _run_score)
    parser.add_argument(
        "classifier", help="classifier of one seed: classifiers/seed-N in the output of train-classifier"
    )
    parser.add_argument(
        "images", help="image set of the same side and classes, without the classifier's training images"
    )
    parser.add_argument("out", help="folder to write")


def _run_score(flags: Flags) -> Numbers:
    from syntrial.score import score

    return score(flags.classifier, flags.images, flags.out)


def _report(verbs: Group) -> None:
    parser = _add(verbs, "report", "predictions -> table, figures, verdict", _run_report, "all of the study")
    parser.add_argument("out", help="folder to write")
    for protocol in ("as-printed", "held-out"):
        scores, images = f"--{protocol}", f"--{protocol}-images"
        parser.add_argument(
            scores, nargs="+", required=True, metavar="SCORES", help="outputs of train-classifier, one per arm"
        )
        parser.add_argument(images, required=True, metavar="SET", help="the pooled set of these outputs")
    parser.add_argument("--full-size", metavar="SCORES", help="output for the arm original on images at full size")


def _run_report(flags: Flags) -> Numbers:
    from syntrial.report import report

    return report(
        flags.out,
        study=_study(flags).model_dump(),
        as_printed=flags.as_printed,
        held_out=flags.held_out,
        as_printed_images=flags.as_printed_images,
        held_out_images=flags.held_out_images,
        full_size=flags.full_size,
    )


def _export(verbs: Group) -> None:
    summary = "image set -> folder of PNGs by part, source and class; trained classifier -> weights, ONNX"
    parser = _add(verbs, "export", summary, _run_export)
    parser.add_argument("what", help="image set, or the trained classifier of one seed")
    parser.add_argument("out", help="folder to write")


def _run_export(flags: Flags) -> Numbers:
    from syntrial.export import export

    return export(flags.what, flags.out)


def _buckets(verbs: Group) -> None:
    parser = _add(verbs, "buckets", "create an object store's buckets and their lifecycle rules", _run_buckets)
    parser.add_argument("uris", nargs="+", metavar="BUCKET", help="minio://BUCKET or s3://BUCKET")
    parser.add_argument(
        "--checkpoint-days", type=_days, default=30, help="days until checkpoints are deleted (default: %(default)s)"
    )
    parser.set_defaults(stopped="the same command creates the rest")


def _run_buckets(flags: Flags) -> Numbers:
    from syntrial.store.buckets import make_buckets

    return make_buckets(flags.uris, flags.checkpoint_days)


def _prune(verbs: Group) -> None:
    parser = _add(verbs, "prune", "remove old checkpoints of abandoned training", _run_prune)
    parser.add_argument(
        "--older-than-days",
        type=_days,
        required=True,
        metavar="DAYS",
        help="minimum age of the last checkpoint",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder of all checkpoints, such as runs/store/checkpoints (default: SYNTRIAL_CHECKPOINTS)",
    )
    parser.add_argument("--uri", default="", help="URI of their mirror (default: SYNTRIAL_CHECKPOINT_URI)")
    parser.set_defaults(stopped="the same command removes the rest")


def _run_prune(flags: Flags) -> Numbers:
    from syntrial.training.checkpoint import prune

    return {"pruned": float(len(prune(flags.older_than_days, flags.folder, flags.uri)))}


def _study(flags: Flags, **given: Any) -> StudyConfig:
    """The study with the changes of the flags; `given` are settings that have flags of their own."""
    from syntrial.config import load_study

    own = [f"{name}={value}" for name, value in given.items() if value is not None]
    return load_study(flags.study, [*flags.set, *own])


_px, _days = number_of("px", 4096), number_of("days", 3650)


def _followed(out: str) -> Path:
    """The path of `out`, with links resolved.

    Raises:
        DataError: `out` is or contains the working directory, or the working directory no longer exists.
    """
    try:
        here, folder = Path.cwd(), Path(os.path.realpath(out))
    except FileNotFoundError:
        raise DataError("the working directory no longer exists; change to another one") from None
    if here.is_relative_to(folder):
        raise DataError(f"{folder} is or contains the working directory and would be replaced; name a new folder")
    return folder


def _refuse_foreign(out: Path, verb: str) -> None:
    """Refuses an existing `out` unless the same verb wrote it, because a verb replaces it."""
    if out.is_dir():
        if any(out.iterdir()) and _written_by(out) != verb.replace("-", "_"):
            raise DataError(
                f"{out} exists, was not written by syntrial {verb} and would be replaced; name a new folder"
            )
    elif os.path.lexists(out):  # also a link that leads to itself
        raise DataError(f"{out} is a file; name a folder to write")


def _written_by(out: Path) -> str:
    """The verb that wrote a folder; "" for any other folder, such as that of a whole run."""
    try:
        about = json.loads((out / "about.json").read_bytes())
        return "" if (out / "run.json").exists() else str(about["verb"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return ""


# The verbs by name, each with the function that adds it.
VERBS: dict[str, Callable[[Group], None]] = {
    "digest": _digest,
    "ingest": _ingest,
    "split": _split,
    "train-generator": _train_generator,
    "synthesize": _synthesize,
    "pool": _pool,
    "train-classifier": _train_classifier,
    "score": _score,
    "report": _report,
    "export": _export,
    "buckets": _buckets,
    "prune": _prune,
}


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"


if __name__ == "__main__":
    sys.exit(main())
