"""The child process that runs the graph through kfp.local. `run` watches it from outside, so that the user sees
progress instead of a log.

`python -m pipelines.local.engine FOLDER` reads FOLDER/run.json and writes FOLDER/done.json after a successful run.
"""

import json
import os
import signal
import stat
import sys
import threading
import warnings
from pathlib import Path

from kfp import local

from pipelines.graph import graph
from syntrial.config import StudyConfig
from syntrial.store import atomic


def main(folder: Path) -> None:
    """Runs the graph in this process, and each box in a child process. Raises RuntimeError naming the failed box."""
    request = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    warnings.filterwarnings("ignore")  # the engine warns about every setting that has an effect only on a cluster
    store = Path(request["store"])
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(store / "artifacts"),
        enable_caching=True,
        cache_root=str(store / "cache"),
    )
    done = graph(StudyConfig.of(request["study"]))(**request["arguments"])
    atomic.write_json(folder / "done.json", {"report": done.output.path})


def end_with_starter() -> None:
    """Ends this process and its boxes when the parent process ends, even by a kill.

    The system then closes the pipe that is this process's input. A process started by hand has no such pipe and is not
    ended.
    """
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    if stat.S_ISFIFO(os.fstat(0).st_mode) and os.getpgrp() == os.getpid():
        threading.Thread(target=end_with_starter, daemon=True).start()
    main(Path(sys.argv[1]))
