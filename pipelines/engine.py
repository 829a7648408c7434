"""The child process that runs the graph through kfp.local. `run` watches it from outside, so that a person sees
progress and not a log.

`python -m pipelines.engine FOLDER` reads FOLDER/run.json and writes FOLDER/done.json when all has ended well.
"""

import json
import sys
import warnings
from pathlib import Path

from kfp import local

from pipelines.graph import graph
from syntrial import atomic
from syntrial.config import StudyConfig


def main(folder: Path) -> None:
    """Runs the graph in this process, each box in one of its own. Raises RuntimeError naming the box that failed."""
    request = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    warnings.filterwarnings("ignore")  # the engine warns of every setting that only a cluster heeds
    store = Path(request["store"])
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(store / "artifacts"),
        enable_caching=True,
        cache_root=str(store / "cache"),
    )
    done = graph(StudyConfig.of(request["study"]))(**request["arguments"])
    atomic.write_json(folder / "done.json", {"report": done.output.path})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
