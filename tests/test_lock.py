"""What is installed is what is locked, and nothing locked has a hole that is known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ["requirements.lock", "images/light.lock", "images/train.lock"]


def audited(lock):
    """Each locked package, with the advisories about it or why it could not be looked up."""
    words = [
        "--requirement",
        ROOT / lock,
        "--require-hashes",
        "--disable-pip",
        "--progress-spinner=off",
        "--format=json",
    ]
    command = [sys.executable, "-m", "pip_audit", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        pytest.skip(f"NOT AUDITED: {lock}; no database of advisories answers: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)["dependencies"]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_locked_package_has_a_hole_that_is_known(lock):
    packages = audited(lock)
    assert packages
    if all("skip_reason" in package for package in packages):
        pytest.skip(f"NOT AUDITED: {lock}; the package index here has no advisories")
    assert not [package["name"] for package in packages if "skip_reason" in package]
    assert not [(package["name"], package["vulns"]) for package in packages if package["vulns"]]
