"""`syntrial bench`: measures the overhead of syntrial on this machine, against the simplest code that does the same."""

import argparse
import contextlib
import io
import json
import math
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pipelines.boxes import BOXES
from syntrial.commandline import number_of
from syntrial.config import IngestConfig, StudyConfig, load_study
from syntrial.errors import DataError
from syntrial.imageset import ImageSet
from syntrial.ingest import ingest
from syntrial.reading.workers import workers
from syntrial.words import counted

if TYPE_CHECKING:  # imported where it is used: processes that only read images need no torch
    import torch

SAMPLE = Path("data/sample/xray")
CLASSES = ["normal", "pneumonia"]
ORIGINAL = 1024  # px of the files that are read, as in the paper
PAPERS = 2680  # number of images in the paper; on a GPU the sample is repeated to at least as many
SHARES = {"val_share": 0.3, "test_share": 0.3}  # so that few images suffice for every part
AUGMENTED = ["color", "translation", "cutout"]


@dataclass(frozen=True)
class Figure:
    """One line of the table. `bound` is "" for a figure without a bound."""

    name: str
    value: float
    bound: str = ""  # such as ">= 0.95"

    @property
    def kept(self) -> bool:
        """Whether the value is within the bound."""
        sign, _, limit = self.bound.partition(" ")
        return not sign or (self.value >= float(limit) if sign == ">=" else self.value <= float(limit))

    @property
    def line(self) -> str:
        """The line: name, value, bound, and MISSED where the value is outside of the bound."""
        return f"{self.name:72}{self.value:8.3f}   {self.bound:9}{'' if self.kept else 'MISSED'}".rstrip()


def add_to(commands: Any) -> None:
    """Adds the command and its flags."""
    parser = commands.add_parser("bench", help="measure the overhead of syntrial", description=__doc__)
    parser.add_argument(
        "--study", default="", help="study with the sizes (default: studies/quick.yaml, on a GPU paper.yaml)"
    )
    rounds, files = number_of("rounds", 1000), number_of("files", 400, least=20)
    parser.add_argument("--rounds", type=rounds, default=6, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--files", type=files, default=400, help="files to ingest, 20 to 400 (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a bound is missed")
    parser.set_defaults(command=bench)


def bench(flags: argparse.Namespace) -> int:
    """Prints each figure as soon as it is known. Returns the exit code."""
    from pipelines.plan import box_threads
    from syntrial.training import machine

    os.environ.update(SYNTRIAL_THREADS=box_threads(), OPENBLAS_NUM_THREADS="1")  # as a run does for its boxes
    device = machine.device()
    study = load_study(flags.study or f"studies/{'paper' if device.type == 'cuda' else 'quick'}.yaml")
    about = machine.description(device)
    print(
        f"sizes of {study.name}: {study.side} px; {about['device']}, {counted(about['threads'], 'thread')}, "
        f"torch {about['torch']}"
    )
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for figure in measured(study, device, Path(scratch), flags.rounds, flags.files):
            print(figure.line, flush=True)
            missed += not figure.kept
    return 1 if flags.check and missed else 0


def measured(study: StudyConfig, device: "torch.device", scratch: Path, rounds: int, files: int) -> Iterator[Figure]:
    """All figures, each as soon as it is measured."""
    os.environ["SYNTRIAL_PROGRESS"] = str(scratch / "progress")  # the loops write the same events as in a run
    if not SAMPLE.is_dir():
        raise DataError(f"there is no {SAMPLE} here; run this from the root of the repository")
    yield from loops(study, device, scratch, rounds)
    yield from ingesting(study.side, scratch, rounds, files)
    yield from starting(scratch, rounds)


def loops(study: StudyConfig, device: "torch.device", scratch: Path, rounds: int) -> Iterator[Figure]:
    """The training loops, with the study's sizes, on sample images."""
    from pipelines.bench import turns

    ingest(SAMPLE, scratch / "images", side=study.side, classes=CLASSES, config=IngestConfig())
    sample = ImageSet.open(scratch / "images")
    label_N = np.array([CLASSES.index(row.label) for row in sample.rows])
    mixed_N = np.random.default_rng(0).permutation(len(label_N))
    mixed_N = np.tile(mixed_N, math.ceil(PAPERS / len(mixed_N)) if device.type == "cuda" else 1)
    images_NSS, label_N = sample.pixels()[mixed_N], label_N[mixed_N]
    simple, cnn = study.generators.simple, study.classifier
    variants = {"generator": simple}
    if "diffaugment" in type(simple).model_fields:
        variants["generator with DiffAugment"] = simple.model_copy(update={"diffaugment": AUGMENTED})
    for title, config in variants.items():
        ratio = turns.generator_ratio(images_NSS[label_N == 0], config, device, scratch, rounds)
        yield Figure(f"{title}: images/s to the bare loop", ratio, ">= 0.95")
    share = turns.checkpoint_share(images_NSS, simple, device, scratch)
    yield Figure("generator: checkpoints, share of the time", share)
    for title, online in (("CNN", None), ("CNN, augmented on the fly", study.conventional)):
        ratio, share = turns.cnn_ratio(images_NSS, label_N, cnn, online, device, scratch, rounds)
        yield Figure(f"{title}: images/s to the bare loop, within epochs", ratio, ">= 0.95")
        yield Figure(f"{title}: evaluation of all images at each epoch's end, share of the time", share)


def ingesting(side: int, scratch: Path, rounds: int, files: int) -> Iterator[Figure]:
    """Reading files of the original size. With files of 128 px, reading would take less time than the other checks."""
    many = _enlarged(scratch / "many", files)
    few = _some(many, scratch / "few", max(1, files // 10))
    ours, bare = [], []
    for number in range(rounds):
        ours.append(_apart("ingest_once", many, scratch / f"read-{number}", side))
        bare.append(_apart("shrink_once", many, side))
    ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(ours, bare, strict=True))
    yield Figure(f"ingest of {ORIGINAL} px files: files/s to a pool of Pillow alone", ratio, ">= 0.9")
    least = _apart("ingest_once", few, scratch / "read-few", side)["peak_mb"]
    most = statistics.median(run["peak_mb"] for run in ours)
    yield Figure(f"ingest: peak memory, MB, of {max(1, files // 10)} files", least)
    yield Figure(f"ingest: peak memory, MB, of {files} files", most)
    yield Figure("ingest: peak memory of ten times as many files", most / least, "<= 1.1")


def ingest_once(folder: str, out: str, side: str) -> dict[str, float]:
    """Runs the verb in this process. Peak memory is that of this process plus that of its largest child process."""
    began_s = time.perf_counter()
    ingest(folder, out, side=int(side), classes=CLASSES, config=IngestConfig())
    seconds = time.perf_counter() - began_s
    status = Path("/proc/self/status").read_text(
        encoding="utf-8"
    )  # getrusage would include the parent's memory before the fork
    own_kb = int(status.partition("VmHWM:")[2].split()[0])
    return {"seconds": seconds, "peak_mb": (own_kb + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024}


def shrink_once(folder: str, side: str) -> dict[str, float]:
    """The simplest code that reads the same files, converts them to grey and resizes them, with as many processes."""
    began_s = time.perf_counter()
    with Pool(workers()) as pool:
        pool.starmap(_shrunk, [(path, int(side)) for path in Path(folder).glob("*/*")])
    return {"seconds": time.perf_counter() - began_s}


def _shrunk(path: Path, side: int) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS))


def starting(scratch: Path, rounds: int) -> Iterator[Figure]:
    """The time of boxes with very little work: shell, Python and imports.

    The fastest of all rounds counts, because the time to import torch alone varies by half a second between rounds.
    """
    data = _some(SAMPLE.resolve(), scratch / "tiny", 24)
    times = [_apart("boxes_once", data, scratch / f"boxes-{number}") for number in range(rounds)]
    least = {name: min(took[name] for took in times) for name in times[0]}
    light = max(least[box] for box in BOXES if box in least and not BOXES[box].torch and box != "report")
    yield Figure(
        "the slowest box without torch, except the report: seconds from start to end, 24 images", light, "<= 0.5"
    )
    yield Figure("the report: seconds until it reads scores, before matplotlib", least["report"], "<= 0.5")
    training = max(least[box] for box in BOXES if box in least and BOXES[box].torch) - least["torch"]
    yield Figure("the slowest box with torch: seconds without importing torch, a few steps", training, "<= 0.5")
    yield Figure(
        "boxes that import torch although they do not train",
        sum(_imports_torch(box) for box in BOXES if not BOXES[box].torch),
        "<= 0",
    )


def boxes_once(data: str, folder: str) -> dict[str, float]:
    """Seconds of each box except the report through the engine of a local run, of importing torch ("torch"), and of the
    report's start ("report"), without its work.

    A chain instead of the graph: the loops of the graph run two boxes at a time, which would slow down both.
    """
    from kfp import dsl, local

    from components.digest import digest
    from components.ingest import ingest
    from components.pool import pool
    from components.settle import settle
    from components.split import split
    from components.synthesize import synthesize
    from components.train_classifier import train_classifier
    from components.train_generator import train_generator

    def chain() -> None:
        settle(study={}, classes=CLASSES, side=32, arms=["original"], seeds=[0], images_per_class=8, epochs="")
        now = digest(data=data, faces="", external="").outputs["data"]
        real = ingest(data=data, digest=now, name="images", side=32, classes=CLASSES, settings={})
        parts = split(images=real.outputs["images"], protocol="as_printed", settings=SHARES).outputs["parts"]
        pooled = pool(real=parts, settings=SHARES).outputs["images"]
        tiny = {"width": 4, "batch": 8, "collapse_below": 0}
        trained = train_generator(images=parts, kind="simple", label=CLASSES[0], epochs=1, settings=tiny)
        synthesize(generator=trained.outputs["generator"], count=8)
        small = {"width": 4, "batch": 8}
        train_classifier(images=pooled, arm="original", seeds=[0], epochs=1, settings=small, augmentation={})

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
    with contextlib.redirect_stdout(io.StringIO()) as log:
        dsl.pipeline(name="bench")(chain)()
    # Each box first imports the engine's executor; like the engine, this variable keeps the import small.
    report = _seconds("import kfp.dsl.executor_main, syntrial.report", {"_KFP_RUNTIME": "true"})
    return {**_spans(log.getvalue()), "torch": _seconds("import torch"), "report": report}


def _seconds(code: str, variables: dict[str, str] | None = None) -> float:
    began_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **(variables or {})}, check=True)
    return time.perf_counter() - began_s


def _spans(log: str) -> dict[str, float]:
    """Seconds of each box, from the engine's log."""
    began: dict[str, datetime] = {}
    spans = {}
    for clock, event in re.findall(r"^([\d:.]{12}) - INFO - (.*)", log, re.MULTILINE):
        name, now = "".join(re.findall(r"'([\w-]+)'", event)[:1]), datetime.strptime(clock, "%H:%M:%S.%f")
        if event.startswith("Executing task"):
            began[name] = now
        elif "finished with status" in event and name in began:
            spans[name.replace("-", "_")] = (now - began[name]).total_seconds() % 86_400  # a box may run past midnight
    return spans


def _imports_torch(verb: str) -> bool:
    code = f"import sys, syntrial.{verb}; print('torch' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def _apart(name: str, *arguments: object) -> dict[str, float]:
    """Calls a function of this module in a new process, with its output suppressed."""
    code = f"import json, sys; from pipelines.bench.command import {name}; print(json.dumps({name}(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{name} failed: {done.stderr.strip().splitlines()[-1]}")
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def _enlarged(folder: Path, files: int) -> Path:
    """Sample X-rays enlarged to ORIGINAL px, alternately PNG and JPEG."""
    tasks = []
    for number, path in enumerate(_evenly(SAMPLE, files)):
        target = folder / path.parent.name / f"{path.stem}{('.png', '.jpg')[number % 2]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        tasks.append((path, target))
    with Pool(workers()) as pool:
        pool.starmap(_enlarge, tasks)
    return folder


def _enlarge(path: Path, target: Path) -> None:
    with Image.open(path) as image:
        image.resize((ORIGINAL, ORIGINAL), Image.Resampling.BICUBIC).save(target)


def _some(source: Path, folder: Path, files: int) -> Path:
    """Copies some of the files of each class into a new folder."""
    for path in _evenly(source, files):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.parent.name)
    return folder


def _evenly(source: Path, files: int) -> list[Path]:
    """The first files of each class, alternating between the classes."""
    by_class = [sorted((source / label).iterdir()) for label in CLASSES]
    return [path for together in zip(*by_class, strict=False) for path in together][:files]
