"""What `pip install .` brings is the whole command, which runs a study from any folder."""

import shutil
import subprocess
import sys
import zipfile

import local_runs
import pytest
from local_runs import ROOT, SMOKE, TINY

PACKAGES = {"syntrial": ROOT / "src", "components": ROOT, "pipelines": ROOT}


def pip(*words):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of a clone, since building writes into the folder."""
    clone, built = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, clone / name)
    for name in ("src", "components", "pipelines"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", built, clone)
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is installed in; what it depends on is here already."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    """A folder with packages of the same names, which are other people's."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('another package')", encoding="utf-8")
    return tmp_path


START = "import sys; from pipelines.__main__ import main; code = main()"


def syntrial(installed, folder, *words, then="sys.exit(code)"):
    """The command as the wheel's script starts it, in a folder that is no clone."""
    code = f"{START}; {then}"
    environment = {**local_runs.environment(), "PYTHONPATH": str(installed)}
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_every_module_and_the_command(wheel):
    modules = {
        path.relative_to(root).as_posix() for name, root in PACKAGES.items() for path in (root / name).rglob("*.py")
    }
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if name.endswith(".py")}
        (points,) = (name for name in content.namelist() if name.endswith("entry_points.txt"))
        assert "syntrial = pipelines.__main__:main" in content.read(points).decode()
    assert names == modules


def test_an_installed_wheel_runs_a_study_from_any_folder(installed, elsewhere, xrays):
    study = ("--study", SMOKE, "--data", xrays, "--faces", ROOT / "data" / "sample" / "faces", *TINY)
    done = syntrial(installed, elsewhere, "run", *study)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(elsewhere.glob("runs/tiny/*/results.json"))) == 1
    assert "original" in done.stdout


def test_one_help_lists_commands_and_verbs(installed, elsewhere):
    reported = syntrial(installed, elsewhere, "--help").stdout
    assert reported.index("whole studies:") < reported.index("\n  submit ") < reported.index("verbs, by hand:")
    assert reported.index("verbs, by hand:") < reported.index("\n  ingest ")


def test_a_verb_starts_without_what_only_whole_studies_need(installed, elsewhere, xrays):
    done = syntrial(installed, elsewhere, "digest", xrays, then="sys.exit('kfp' in sys.modules)")
    assert (done.returncode, len(done.stdout.split()[0])) == (0, 64), done.stderr


@pytest.mark.parametrize("command", [["compile"], ["submit", "--dry-run"]], ids=lambda words: words[0])
def test_what_only_a_clone_can_do_says_so(command, installed, elsewhere):
    done = syntrial(installed, elsewhere, *command, "--study", SMOKE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "in a clone" in done.stderr
