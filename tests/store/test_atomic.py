"""Nothing half-written is ever taken for whole."""

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from syntrial.store import atomic
from syntrial.store.uris import StorageError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def python(code, *words):
    """A process of its own."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@contextlib.contextmanager
def small_files():
    """The system stops a write beyond 1 MB, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class CutError(Exception):
    """Something that goes wrong halfway."""


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with atomic.new_folder(tmp_path / "deep" / "out") as draft:
        (draft / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep") == ["out"] and names(tmp_path / "deep" / "out") == ["a"]
    assert stat.S_IMODE((tmp_path / "deep" / "out").stat().st_mode) == 0o755


def test_a_folder_that_went_wrong_leaves_nothing_and_what_was_there_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(CutError), atomic.new_folder(tmp_path / "out") as draft:
        (draft / "new").touch()
        raise CutError
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["old"]


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    for name in ("old", "new"):
        with atomic.new_folder(tmp_path / "out") as draft:
            (draft / name).touch()
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["new"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_a_folder_stays_and_what_it_leads_to_is_replaced(there, tmp_path):
    if there:
        (tmp_path / "disk" / "far").mkdir(parents=True)
        (tmp_path / "disk" / "far" / "old").touch()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "far")
    with atomic.new_folder(tmp_path / "out") as draft:
        (draft / "new").touch()
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk") == ["far"] and names(tmp_path / "disk" / "far") == ["new"]


@pytest.mark.parametrize("out", [".", "../here", "../here/inner/.."])
def test_a_folder_may_be_named_by_dots(out, tmp_path, monkeypatch):
    (tmp_path / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with atomic.new_folder(out) as draft:
        (draft / "new").touch()
    assert names(tmp_path) == ["here"] and names(tmp_path / "here") == ["new"]


TERMINATED = """
import os, signal, sys
from syntrial.store import atomic
with atomic.new_folder(sys.argv[1]) as draft:
    (draft / "half").touch()
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_process_that_is_told_to_end_takes_its_draft_with_it(tmp_path):
    done = python(TERMINATED, tmp_path / "out")
    assert (done.returncode, names(tmp_path)) == (128 + signal.SIGTERM, [])


FLUSHED = """
import os, sys
from syntrial.store import atomic
seen = []
sys.addaudithook(lambda event, what: seen.append((event, str(what[0]))))
with atomic.new_folder(sys.argv[1]) as draft:
    (draft / "inner").mkdir()
after = seen[max(i for i, (event, _) in enumerate(seen) if event == "os.rename") :]
opened = [[path for event, path in events if event == "open"] for events in (seen, after)]
print(str(draft / "inner") in opened[0], str(draft) in opened[0], os.path.dirname(sys.argv[1]) in opened[1])
"""


def test_folders_are_flushed_within_a_new_one_before_it_appears_and_around_it_after(tmp_path):
    assert python(FLUSHED, tmp_path / "out").stdout == "True True True\n"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    reported = r"out has no space left \(File too large\); free some"
    with small_files(), pytest.raises(StorageError, match=reported), atomic.new_folder(tmp_path / "out") as draft:
        (draft / "big").write_bytes(bytes(2_000_000))
    assert names(tmp_path) == []


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), atomic.new_folder(tmp_path / "out"):
        (tmp_path / "nowhere" / "a").read_bytes()


def test_drafts_that_killed_processes_left_are_swept_and_nothing_else(tmp_path):
    for name in (
        "run/box/.images.ak2vrgrf/a",
        "run/box/images/.part-x1",
        "run/box/images/b",
        ".lock",
        "c.d.abcdefgh/e",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    atomic.sweep(tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".lock", "c.d.abcdefgh/e", "run/box/images/b"]


def test_a_copy_that_is_cut_short_is_not_there(tmp_path):
    (tmp_path / "a").write_bytes(bytes(2_000_000))
    with small_files(), pytest.raises(OSError):
        atomic.copy(tmp_path / "a", tmp_path / "b")
    assert names(tmp_path) == ["a"]
    atomic.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == bytes(2_000_000)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_appears_when_it_is_whole_and_all_may_read_it(durable, tmp_path):
    with atomic.new_file(tmp_path / "a", durable) as file:
        file.write(b"whole")
        assert names(tmp_path)[0].startswith(atomic.DRAFT)
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"whole"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_a_file_that_went_wrong_leaves_what_was_there(tmp_path):
    atomic.write_bytes(tmp_path / "a", b"old")
    with pytest.raises(CutError), atomic.new_file(tmp_path / "a") as file:
        file.write(b"ne")
        raise CutError
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_process_that_is_killed_while_it_writes_leaves_what_was_there(tmp_path):
    atomic.write_bytes(tmp_path / "a", b"old")
    code = "import os, signal, sys; from syntrial.store import atomic\nwith atomic.new_file(sys.argv[1]) as file:\n"
    code += "    file.write(b'new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    )
    assert done.returncode == -9 and (tmp_path / "a").read_bytes() == b"old"


def test_equal_content_is_equal_bytes(tmp_path):
    atomic.write_json(tmp_path / "a", {"b": [1, 2.5], "a": "é"})
    atomic.write_json(tmp_path / "b", {"a": "é", "b": [1, 2.5]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text(encoding="utf-8")) == {"a": "é", "b": [1, 2.5]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused_and_nothing_is_written(value, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a", {"loss": value})
    assert names(tmp_path) == []


def test_a_link_is_the_same_file(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    atomic.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")


def test_one_is_inside_at_a_time_and_who_waits_says_so(tmp_path, caplog):
    order, inside = [], threading.Event()

    def first():
        with atomic.locked(tmp_path / "lock", "waiting"):
            inside.set()
            while "waiting" not in caplog.messages:
                time.sleep(0.001)
            order.append("first")

    other = threading.Thread(target=first)
    other.start()
    inside.wait()
    with atomic.locked(tmp_path / "lock", "waiting"):
        order.append("second")
    other.join()
    assert order == ["first", "second"] and caplog.messages == ["waiting"]


def test_a_lock_that_nobody_holds_is_taken_without_a_word(tmp_path, caplog):
    for _ in range(2):
        with atomic.locked(tmp_path / "folder" / "lock", "waiting"):
            assert caplog.messages == []
