"""The report of a run on a cluster: its URI, and its table as a local run prints it."""

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

BOX, OUTPUT = "root.report", "report"  # the box that ends the graph, and its output with the results


def add_report(parser: argparse.ArgumentParser) -> None:
    """The flag that fetches the whole report."""
    parser.add_argument("--report", default="", metavar="FOLDER", help="bring the whole report into this folder")


def show_results(runs: RemoteRuns, look: Look, folder: str = "") -> None:
    """Prints the table; brings the whole report into `folder` where one is named.

    Where the store is out of reach, prints the report's URI.

    Raises:
        StorageError: the report was asked for and cannot be fetched.
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
        why = "it holds no results.json" if isinstance(error, FileNotFoundError) else str(error)
        if folder:
            raise StorageError(f"the report in {uri} cannot be brought here: {why}") from None
        _say(f"the table cannot be read from here: {why}")
    brings = f"syntrial status {look.run['display_name']} --report FOLDER brings it here"
    _say(f"{folder}/report.html has the whole report" if folder else f"the whole report is in {uri}; {brings}")


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
