"""Fetches the report of a run on a cluster, and prints its table as a local run does."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from pipelines.cluster.remote import PATIENCE_S, Look, RemoteRuns
from syntrial.errors import ConfigError, DataError
from syntrial.reporting import table
from syntrial.store.objects import ObjectStore
from syntrial.store.uris import Location, StorageError

BOX, OUTPUT = "root.report", "report"  # the path of the last box, and its output with the results


def add_report(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that fetches the whole report."""
    parser.add_argument("--report", default="", metavar="FOLDER", help="download the whole report into this folder")


def show_results(runs: RemoteRuns, look: Look, folder: str = "") -> None:
    """Prints the table; downloads the whole report into `folder` if one is given.

    If the store cannot be reached, prints the report's URI.

    Raises:
        StorageError: `folder` is given, and the report cannot be downloaded.
    """
    uri = runs.output(look, BOX, OUTPUT)
    if not uri:
        _say("the report is that of an earlier run, which Kubeflow no longer knows; the dashboard shows it")
        return
    try:
        store = ObjectStore(Location.of(uri), PATIENCE_S)
        results = json.loads(store.read_bytes("results.json"))
        print(table.text(results, width=min(160, max(100, shutil.get_terminal_size((120, 24)).columns))))
        if folder:
            _bring(store, Path(folder))
    except (StorageError, ConfigError, FileNotFoundError) as error:
        why = "it has no results.json" if isinstance(error, FileNotFoundError) else str(error)
        if folder:
            raise StorageError(f"the report in {uri} cannot be downloaded: {why}") from None
        _say(f"the table cannot be read from here: {why}")
    hint = f"syntrial status {look.run['display_name']} --report FOLDER downloads it"
    _say(f"{folder}/report.html has the whole report" if folder else f"the whole report is in {uri}; {hint}")


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _bring(store: ObjectStore, folder: Path) -> None:
    for entry in store.entries():
        try:
            store.get(entry, folder / entry.name)
        except StorageError:
            raise
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {error.strerror}") from None
