import contextlib
import errno
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from minio import Minio

from syntrial.errors import ConfigError, TrainingError
from syntrial.store.transfer import open_store
from syntrial.store.uris import Location, StorageError
from syntrial.training.checkpoint import LASTING, NAME, Checkpoints, key_for, prune
from tests.object_server import SECRET, FaultyWay, object_server


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("SYNTRIAL_CHECKPOINTS", "SYNTRIAL_CHECKPOINT_URI", "SYNTRIAL_CHECKPOINT_EVERY_S"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server():
    with object_server() as address:
        Minio(address, "a-key", SECRET, secure=False, region="us-east-1").make_bucket("bucket")
        yield address


@pytest.fixture
def way(server, monkeypatch):
    way = FaultyWay(server)
    keys = {"ACCESS_KEY": "a-key", "SECRET_KEY": SECRET}
    for name, value in {"ENDPOINT": way.start(), "SECURE": "false", **keys}.items():
        monkeypatch.setenv(f"MINIO_{name}", value)
    monkeypatch.setenv("SYNTRIAL_STORAGE_PATIENCE_S", "1")
    yield way
    way.stop()


@pytest.fixture
def mirror(way, request):
    return f"minio://bucket/{abs(hash(request.node.nodeid))}"


def state_at(step, numbers=10):
    return {"weights": torch.full((numbers,), float(step)), "step": step}


def is_of(found, step):
    return found is not None and found[0] == step and torch.equal(found[1]["weights"], state_at(step)["weights"])


def same(one, other):
    """Whether two states are equal: types, dtypes, shapes, every bit of a tensor; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return [*one] == [*other] and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# What is saved comes back


def test_a_saved_state_comes_back_as_it_was(tmp_path):
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(network.parameters(), foreach=True)
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "curve": [[1, 0.5, float("nan")], []],
        "pictures": [torch.zeros(2, 2, dtype=torch.uint8)],
        "name": "simple/normal",
        "none": None,
        "pair": (1, True),
    }
    Checkpoints("work", tmp_path).save(7, state)
    step, found = Checkpoints("work", tmp_path).latest()
    assert step == 7
    assert same(found, state)
    assert not same(found, {**state, "pictures": [torch.zeros(2, 2, dtype=torch.int8)]})


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert Checkpoints("work", tmp_path).latest() is None


def test_the_last_two_are_kept_and_the_newest_is_found(tmp_path):
    keep = Checkpoints("work", tmp_path)
    for step in (1, 2, 10, 9_999_999_999):
        keep.save(step, state_at(step))
    steps = [int(NAME.fullmatch(name)[1]) for name in names(tmp_path / "work") if name != "LATEST"]
    assert steps == [10, 9_999_999_999]
    assert is_of(keep.latest(), 9_999_999_999)


def test_works_of_other_keys_do_not_see_each_other(tmp_path):
    Checkpoints("one", tmp_path).save(1, state_at(1))
    assert Checkpoints("two", tmp_path).latest() is None


@pytest.mark.parametrize(
    "foreign", [np.float64(1), np.zeros(2), {1, 2}, torch.float32, torch.Size([1]), lambda: 0, torch.nn.Linear(1, 1)]
)
def test_what_would_have_to_be_unpickled_is_refused_by_name_when_saving(tmp_path, foreign):
    with pytest.raises(TypeError, match=r"state\['curve'\]\[0\] is a"):
        Checkpoints("work", tmp_path).save(1, {"curve": [foreign]})


def test_equal_parts_have_equal_keys_and_others_have_others():
    assert key_for("digest", {"a": 1, "b": (2, 3)}) == key_for("digest", {"b": [2, 3], "a": 1})
    keys = {key_for(*parts) for parts in (("a", "b"), ("ab",), ("a", "b", ""), (1,), ("1",), ({"a": 1},), ())}
    assert len(keys) == 7


@pytest.mark.parametrize("key", ["", "..", "a/b", "../a", "a b"])
def test_a_key_that_could_leave_the_folder_is_refused(tmp_path, key):
    with pytest.raises(ConfigError, match="cannot name checkpoints"):
        Checkpoints(key, tmp_path)


# Settings


def test_the_environment_says_where_and_how_often(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINTS", str(tmp_path / "here"))
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_URI", str(tmp_path / "mirror"))
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_EVERY_S", "12.5")
    keep = Checkpoints("work")
    keep.save(1, state_at(1))
    assert names(tmp_path / "here" / "work") == names(tmp_path / "mirror" / "work")
    assert keep.every_s == 12.5


def test_a_time_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_CHECKPOINT_EVERY_S", "often")
    with pytest.raises(ConfigError, match="SYNTRIAL_CHECKPOINT_EVERY_S is 'often'"):
        Checkpoints("work", tmp_path)


def test_a_checkpoint_is_due_after_its_time_and_not_twice_for_a_step(tmp_path):
    often, rarely = Checkpoints("work", tmp_path, every_s=0), Checkpoints("work", tmp_path, every_s=3600)
    assert often.due(1) and not rarely.due(1)
    often.save(1, state_at(1))
    assert often.due(2) and not often.due(1)


# Damage


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole[:-1] + b"!"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_a_line_says_so(tmp_path, caplog, damage):
    keep = Checkpoints("work", tmp_path)
    keep.save(1, state_at(1))
    keep.save(2, state_at(2))
    newest = max((tmp_path / "work").glob("*.pt"))
    newest.write_bytes(damage(newest.read_bytes()))
    assert is_of(keep.latest(), 1)
    assert any(newest.name in line and "damaged" in line for line in caplog.messages)
    assert not newest.exists()


@pytest.mark.parametrize("pointer", [b"", b"{", b"[]", b'{"step": "9"}', b'{"step": 9, "file": "step-9.pt"}', b"\xff"])
def test_a_wrong_pointer_misleads_nobody(tmp_path, pointer):
    keep = Checkpoints("work", tmp_path)
    keep.save(1, state_at(1))
    (tmp_path / "work" / "LATEST").write_bytes(pointer)
    assert is_of(keep.latest(), 1)
    keep.save(10, state_at(10))
    assert json.loads((tmp_path / "work" / "LATEST").read_text())["step"] == 10


def test_a_file_that_would_have_to_be_unpickled_is_never_loaded(tmp_path, caplog):
    import hashlib

    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(ran),))

    keep = Checkpoints("work", tmp_path)
    keep.save(1, state_at(1))
    content = io.BytesIO()
    torch.save({"weights": Evil()}, content)
    digits = hashlib.sha256(content.getvalue()).hexdigest()[:16]
    (tmp_path / "work" / f"step-000000002-{digits}.pt").write_bytes(content.getvalue())
    assert is_of(keep.latest(), 1)
    assert any("no checkpoint" in line for line in caplog.messages)
    assert not ran.exists()


def test_the_pointer_says_what_is_newest_and_whether_it_is_the_last(tmp_path):
    Checkpoints("work", tmp_path).save(3, state_at(3), final=True)
    pointer = json.loads((tmp_path / "work" / "LATEST").read_text())
    content = (tmp_path / "work" / pointer["file"]).read_bytes()
    assert (pointer["step"], pointer["bytes"], pointer["final"]) == (3, len(content), True)
    assert pointer["sha256"][:16] in pointer["file"]


SAVER = """
import os, sys, torch
from pathlib import Path
from syntrial.training.checkpoint import Checkpoints
torch.set_num_threads(1)
while sys.stdin.readline():  # torch is loaded once; each turn is a process of its own
    pid = os.fork()
    if not pid:
        keep = Checkpoints("work", Path(sys.argv[1]), sys.argv[2])
        with keep.owned():
            step = (keep.latest() or (0,))[0]
            while True:
                step += 1
                keep.save(step, {"weights": torch.full((1_000_000,), float(step)), "step": step})
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@contextlib.contextmanager
def saver(folder, uri, progress):
    """A function that starts to save and kills: some seconds after `progress()` has changed, or after the start.

    It returns by what signal the saving ended.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(folder), uri],
        env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(seconds, after_progress):
        before = progress()
        process.stdin.write("go\n")
        process.stdin.flush()
        pid = int(process.stdout.readline())
        for _ in range(10_000 if after_progress else 0):
            if progress() != before:
                break
            time.sleep(0.002)
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        return int(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


def test_killed_at_any_moment_the_newest_checkpoint_is_whole_and_never_goes_back(tmp_path):
    moments, last, pointer = random.Random(0), 0, tmp_path / "work" / "LATEST"
    with saver(tmp_path, "", lambda: pointer.exists() and pointer.stat().st_mtime_ns) as killed_after:
        for turn in range(40):
            assert killed_after(moments.uniform(0, 0.06), turn % 2 == 0) == signal.SIGKILL
            step, state = Checkpoints("work", tmp_path).latest()
            assert step >= last + (turn % 2 == 0)
            assert torch.equal(state["weights"], state_at(step, 1_000_000)["weights"])
            last = step
    with Checkpoints("work", tmp_path).owned():
        assert len(names(tmp_path / "work")) <= LASTING + 2  # drafts of the killed are gone


def test_killed_and_moved_to_another_machine_it_goes_on_from_the_mirror(tmp_path, mirror, way):
    moments, last = random.Random(1), 0
    sent = lambda: [path for method, path, _ in way.requests if method == "PUT" and path.endswith("LATEST")]  # noqa: E731
    with saver(tmp_path, mirror, sent) as killed_after:
        for turn in range(10):
            killed_after(moments.uniform(0, 0.2), turn % 2 == 0)
            step, _ = Checkpoints("work", tmp_path / f"elsewhere-{turn}", mirror).latest()
            assert step >= last + (turn % 2 == 0)
            last = step


# Two at once


def test_two_writers_of_one_key_leave_only_whole_checkpoints(tmp_path, mirror):
    def write(writer):  # as on two GPUs: of the same step, not the same bits
        keep = Checkpoints("work", tmp_path, mirror)
        for step in range(1, 16):
            keep.save(step, {"weights": torch.full((1000,), float(step)), "writer": writer})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for place in (Checkpoints("work", tmp_path), Checkpoints("work", tmp_path / "elsewhere", mirror)):
        step, state = place.latest()
        assert step == 15
        assert torch.equal(state["weights"], torch.full((1000,), 15.0))


def test_a_writer_that_lags_behind_moves_nothing_back(tmp_path, mirror):
    ahead, behind = (Checkpoints("work", tmp_path / name, mirror) for name in ("ahead", "behind"))
    for step in (100, 110):
        ahead.save(step, state_at(step))
    behind.save(50, state_at(50))
    assert is_of(behind.latest(), 110)
    assert json.loads(open_store(Location.of(f"{mirror}/work")).read_bytes("LATEST"))["step"] == 110


def test_a_second_process_waits_until_the_first_lets_go(tmp_path):
    code = (
        "import sys; from pathlib import Path; from syntrial.training.checkpoint import Checkpoints\n"
        "with Checkpoints('work', Path(sys.argv[1])).owned():\n"
        "    print('in', flush=True); sys.stdin.readline(); Path(sys.argv[1], 'left').touch()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": "src"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with first:
        first.stdout.readline()
        threading.Timer(0.3, first.stdin.close).start()
        with Checkpoints("work", tmp_path).owned():
            assert (tmp_path / "left").exists()


def test_a_lock_that_was_deleted_while_one_waited_keeps_nobody_out_and_lets_nobody_share(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            keep = Checkpoints("work", tmp_path)
            with keep.owned():
                inside.append(1)
                time.sleep(0.002)
                most.append(len(inside))
                keep.clear()  # deletes the lock at the end
                inside.pop()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert max(most) == 1 and len(most) == 80


# The mirror


def test_the_newest_is_found_wherever_it_is(tmp_path, mirror):
    here = Checkpoints("work", tmp_path / "here", mirror)
    here.save(1, state_at(1))
    Checkpoints("work", tmp_path / "there", mirror).save(2, state_at(2))
    assert is_of(here.latest(), 2)
    Checkpoints("work", tmp_path / "here", str(tmp_path / "another mirror")).save(3, state_at(3))
    assert is_of(here.latest(), 3)


def test_a_checkpoint_damaged_here_is_taken_from_the_mirror(tmp_path, mirror):
    keep = Checkpoints("work", tmp_path, mirror)
    keep.save(1, state_at(1))
    keep.save(2, state_at(2))
    max((tmp_path / "work").glob("*.pt")).write_bytes(b"half")
    assert is_of(keep.latest(), 2)


def test_in_the_mirror_the_pointer_is_written_after_what_it_points_to(tmp_path, mirror, way):
    Checkpoints("work", tmp_path, mirror).save(1, state_at(1))
    written = [path.rpartition("/")[2] for method, path, _ in way.requests if method == "PUT"]
    assert [NAME.fullmatch(written[0]) is not None, written[1:]] == [True, ["LATEST"]]


def test_training_goes_on_without_the_mirror_says_so_once_and_mirrors_again_later(tmp_path, mirror, way, caplog):
    keep = Checkpoints("work", tmp_path, mirror)
    keep.save(1, state_at(1))
    way.stop()
    for step in (2, 3, 4):
        keep.save(step, state_at(step))
    assert len([line for line in caplog.messages if line.startswith("checkpoints are in")]) == 1
    assert is_of(keep.latest(), 4)
    way.start()
    assert is_of(Checkpoints("work", tmp_path / "elsewhere", mirror).latest(), 1)
    keep.save(5, state_at(5))
    assert is_of(Checkpoints("work", tmp_path / "elsewhere", mirror).latest(), 5)


def test_a_short_outage_of_the_mirror_costs_no_checkpoint(tmp_path, mirror, way, monkeypatch):
    monkeypatch.setenv("SYNTRIAL_STORAGE_PATIENCE_S", "15")
    keep = Checkpoints("work", tmp_path, mirror)
    way.stop()
    back = threading.Timer(1, way.start)
    back.start()
    keep.save(1, state_at(1))
    back.join()
    way.faults = ["busy", "", "busy"]
    keep.save(2, state_at(2))
    assert is_of(Checkpoints("work", tmp_path / "elsewhere", mirror).latest(), 2)


def test_without_the_mirror_work_does_not_begin_anew_unless_there_is_a_local_checkpoint(tmp_path, mirror, way):
    keep = Checkpoints("work", tmp_path, mirror)
    way.stop()
    with pytest.raises(StorageError, match=r"starting without it would repeat its work: .* does not answer"):
        keep.latest()
    Checkpoints("work", tmp_path).save(1, state_at(1))
    assert is_of(keep.latest(), 1)


# No room


def test_a_full_disk_ends_in_a_sentence_and_leaves_the_last_checkpoint_whole(tmp_path):
    keep = Checkpoints("work", tmp_path)
    keep.save(1, state_at(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # the system then stops a write as a full disk does
    try:
        with pytest.raises(TrainingError, match=r"no space for the checkpoint of step 2: it needs 4,\d{3},\d{3} bytes"):
            keep.save(2, state_at(2, 1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_of(keep.latest(), 1)
    assert len(names(tmp_path / "work")) == 2


def test_a_file_system_without_room_ends_in_a_sentence(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs a small file system, and this user may not mount one: {mounted.stderr.strip()}")
    try:
        keep = Checkpoints("work", tmp_path)
        keep.save(1, state_at(1))
        with pytest.raises(TrainingError, match=f"{tmp_path}.* has no space"):
            keep.save(2, state_at(2, 1_000_000))
        assert is_of(keep.latest(), 1)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_written_is_refused_before_work_begins(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="set SYNTRIAL_CHECKPOINTS"), Checkpoints("work", tmp_path / "file").owned():
        raise AssertionError("was let in")


def test_an_error_inside_is_not_taken_for_one_of_the_folder(tmp_path):
    with pytest.raises(OSError, match="of the work"), Checkpoints("work", tmp_path).owned():
        raise OSError(errno.EIO, "of the work")


# The end


def test_finished_work_leaves_nothing_behind(tmp_path, mirror):
    keep = Checkpoints("work", tmp_path, mirror)
    with keep.owned():
        keep.save(1, state_at(1))
        keep.clear()
    assert names(tmp_path) == []
    assert keep.latest() is None
    keep.save(2, state_at(2))
    keep.clear(mirror=False)
    assert names(tmp_path) == []
    assert is_of(keep.latest(), 2)


def test_what_is_not_ours_is_left_alone(tmp_path):
    keep = Checkpoints("work", tmp_path)
    keep.save(1, state_at(1))
    (tmp_path / "work" / "notes.txt").touch()
    keep.clear()
    assert prune(-1, tmp_path) == []
    assert names(tmp_path / "work") == ["notes.txt"]


def test_old_work_is_pruned_here_and_in_the_mirror_and_young_work_is_not(tmp_path, mirror):
    for key in ("old", "young"):
        Checkpoints(key, tmp_path, str(tmp_path / "mirror")).save(1, state_at(1))
    for place in (tmp_path / "old", tmp_path / "mirror" / "old"):
        for path in place.iterdir():
            os.utime(path, (0, 0))
    assert prune(1, tmp_path, str(tmp_path / "mirror")) == ["old"]
    assert Checkpoints("old", tmp_path, str(tmp_path / "mirror")).latest() is None
    assert is_of(Checkpoints("young", tmp_path / "elsewhere", str(tmp_path / "mirror")).latest(), 1)
    Checkpoints("work", tmp_path / "here", mirror).save(1, state_at(1))
    assert prune(1, tmp_path / "here", mirror) == []
    assert prune(-1, tmp_path / "here", mirror) == ["work"]


def test_a_stage_without_torch_can_prune(tmp_path):
    code = "import sys; from syntrial.training.checkpoint import prune; prune(1, sys.argv[1]); "
    code += "sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": "src"}
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment).returncode == 0
