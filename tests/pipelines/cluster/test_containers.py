"""Images are called after what is in them, hold what they should and nothing else, and are built with what is there."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from local_runs import ROOT
from packaging.requirements import Requirement

from pipelines.boxes import BOXES
from pipelines.cluster.containers import CODE, COMMAND, RECIPES, code_of, image_of, minio_of, names_of

TRAINS = {name for name, box in BOXES.items() if box.torch}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted(path.stem for path in (ROOT / "images").glob("*.lock"))


# What they are called


@pytest.fixture
def checkout(tmp_path):
    """A copy of what images are made of, and of what makes them."""
    for folder in ("src/syntrial", "components", "images", "pipelines"):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "checkout"


def names(root: Path) -> dict[str, str]:
    """By box, and of the object store."""
    return {**{box: image_of(box, "r", root) for box in (*BOXES, COMMAND)}, "minio": minio_of("r", root)}


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("src/syntrial/report.py", {"report", COMMAND}),
        ("src/syntrial/split.py", {"split", COMMAND}),
        ("src/syntrial/train_classifier.py", {"train_classifier", COMMAND}),
        ("src/syntrial/training/adam.py", {"train_generator", "synthesize", "train_classifier", COMMAND}),
        ("src/syntrial/cli.py", {COMMAND}),
        ("src/syntrial/store/objects.py", {COMMAND}),
        ("images/Dockerfile", {*BOXES, COMMAND}),
        ("images/light.lock", {*BOXES, COMMAND}),
        ("images/train.lock", {*TRAINS}),
        ("images/minio/go.sum", {"minio"}),
    ],
)
def test_a_change_gives_new_names_to_what_it_can_change_and_to_nothing_else(file, changed, checkout):
    before = names(checkout)
    with (checkout / file).open("a", encoding="utf-8") as text:
        text.write("changed = True\n" if file.endswith(".py") else "# changed\n")
    after = names(checkout)
    assert {name for name in before if before[name] != after[name]} == changed


def test_names_are_the_same_on_a_machine_that_has_none_of_the_libraries():
    code = "from pipelines.cluster.containers import image_of, minio_of; "
    code += "print(image_of('train_classifier', 'r'), minio_of('r'))"
    bare = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    said = subprocess.run([sys.executable, "-S", "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [image_of("train_classifier", "r"), minio_of("r")]


def test_every_box_runs_in_one_image_and_those_that_train_in_the_one_with_torch():
    every = [*names_of("light", "r/path"), *names_of("train", "r/path")]
    assert sorted(name.partition(":")[2].rpartition("-")[0] for name in every) == sorted([*BOXES, COMMAND])
    assert all(re.fullmatch(r"r/path/syntrial-(light|train):\w+-[0-9a-f]{16}", name) for name in every)
    trains = {box for box in BOXES if "/syntrial-train:" in image_of(box, "r")}
    assert trains == TRAINS == {box for box in BOXES if needs_torch(box)}


def needs_torch(box: str) -> bool:
    """Whether the verb that a box calls imports torch."""
    verb = ROOT / "src" / "syntrial" / f"{box}.py"
    return verb.exists() and "import torch" in verb.read_text(encoding="utf-8")


# What they are made of


def stages(dockerfile: str) -> dict[str, list[str]]:
    """The instructions of each stage of a file of images/, comments left out, by the stage's name or number."""
    text = re.sub(r"^#.*\n", "", (ROOT / "images" / dockerfile).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in filter(None, re.sub(r"\\\n\s*", "", text).splitlines()):
        if line.startswith("FROM "):
            found[line.split(" AS ")[1] if " AS " in line else str(len(found))] = [line]
        elif found:
            next(reversed(found.values())).append(line)
    return found


FINAL = {
    "light": stages("Dockerfile")["light"],
    "train": stages("Dockerfile")["train"],
    "minio": stages("minio/Dockerfile")["1"],
}
EVERY = [*stages("Dockerfile").values(), *stages("minio/Dockerfile").values()]


@pytest.mark.parametrize("image", FINAL)
def test_an_image_runs_as_a_user_with_a_number_that_is_not_roots(image):
    user = next(line for line in reversed(FINAL[image]) if line.startswith("USER "))
    assert re.fullmatch(r"USER [1-9]\d+:[1-9]\d+", user)


@pytest.mark.parametrize("image", FINAL)
def test_an_image_says_what_it_is_and_on_which_terms(image):
    (label,) = (line for line in FINAL[image] if line.startswith("LABEL "))
    assert f'image.title="syntrial-{image}"' in label
    assert f'image.licenses="{"AGPL-3.0-only" if image == "minio" else "Apache-2.0"}"' in label


def test_what_images_begin_with_bears_a_version_that_is_not_latest():
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", "\n".join(map(content, ("Dockerfile", "minio/Dockerfile"))), re.M))
    begins = {re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], line[0].split()[1]) for line in EVERY}
    outside = begins - {*stages("Dockerfile"), "scratch"}
    assert {name.rpartition(":")[0] for name in outside} == {"docker.io/library/python", "docker.io/library/golang"}
    assert all(re.match(r"\d+\.\d+", name.rpartition(":")[2]) for name in outside)
    assert not [name for name in RECIPES if "latest" in "".join(map(content, RECIPES[name]))]


def content(name: str) -> str:
    """A file of images/."""
    return (ROOT / "images" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("image", ["light", "train"])
def test_the_code_is_the_last_that_is_put_into_an_image(image):
    writes = [line for line in FINAL[image] if line.split()[0] in ("RUN", "COPY", "ADD")]
    assert writes[-1] == "COPY --from=code /code /opt/syntrial"
    assert not [line for line in writes[:-1] if "src/" in line or "--from=code" in line]


def test_torch_lies_beneath_all_other_packages():
    assert FINAL["train"][0] == "FROM torch AS train"
    assert "light.lock" not in "".join(stages("Dockerfile")["torch"])
    assert "train.lock" not in "".join(FINAL["train"] + FINAL["light"])


def test_packages_come_as_wheels_with_their_hashes_and_by_that_way_alone():
    assert "--require-hashes" in content("install") and "--only-binary :all:" in content("install")
    installs = [line for stage in EVERY for line in stage if re.search(r"\bpip install|\binstall \w+\.lock|apt", line)]
    assert installs and not [line for line in installs if re.search(r"\bpip install|apt", line)]


def test_only_what_is_named_goes_to_the_builder():
    every, *named = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert every == "*" and {line[0] for line in named if line != "**/__pycache__"} == {"!"}
    copies = [word for stage in EVERY for line in stage if line.startswith("COPY ") for word in line.split()[1:-1]]
    copied = {word for word in copies if word.startswith(("src", "images", "LICENSE", "NOTICE"))}
    assert {re.sub(r"\w+\.lock", "*.lock", name) for name in copied} == {line[1:] for line in named if line[0] == "!"}


def blocks(lock: Path) -> set[str]:
    """What a lock says of each package: version, where it holds, hashes."""
    text = re.sub(r"^ *#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {block.strip() for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE) if block.strip()}


def packages(lock: str) -> set[str]:
    """Their names."""
    return {block.split("==")[0] for block in blocks(ROOT / "images" / f"{lock}.lock")}


@pytest.mark.parametrize("lock", LOCKS)
def test_an_image_gets_exactly_what_the_tests_ran_with(lock):
    assert blocks(ROOT / "images" / f"{lock}.lock") <= blocks(ROOT / "requirements.lock")
    assert not re.findall(r"^--|://|find-links", content(f"{lock}.lock"), re.MULTILINE)


def test_each_image_gets_what_its_boxes_need_and_no_more():
    light, train = (set(PYPROJECT["dependency-groups"][name]) for name in ("light", "train"))
    engine = {"cronsim", "kfp", "kfp-kubernetes"}  # what only a person's machine runs
    assert light | train | engine == {Requirement(one).name for one in PYPROJECT["project"]["dependencies"]}
    assert light <= packages("light") and train <= packages("train")
    assert packages("kfp") == {"kfp"}
    assert not packages("light") & (train | engine | {"pip", "pytest"})


# How they are built

FAKE = """#!/bin/sh
echo "${0##*/} $*" >> "$LOG"
for word in "$@"; do
  case $word in --secret=id=*) id=${word#--secret=id=}; /bin/cp "${word#*src=}" "$LOG.${id%%,*}" ;; esac
done
[ "$1" != build ] || [ -z "$CHANGES" ] || echo '# changed' >> "$CHANGES"
case $1 in %s) exit 1 ;; esac
"""


@pytest.fixture
def programs(tmp_path):
    """Puts a program that notes how it was called, and its secrets, where programs are looked for."""
    (tmp_path / "bin").mkdir()

    def put(name: str, fails_at: str = "never") -> None:
        (tmp_path / "bin" / name).write_text(FAKE % fails_at, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)

    return put


@pytest.fixture
def make(checkout, tmp_path):
    """Builds images as `make image` does: exit code, what is said, and what the programs were asked for."""

    def made(*words: str, **own: str):
        log = tmp_path / "log"
        environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "LOG": str(log), **own}
        environment["PYTHONPATH"] = str(checkout / "src")
        command = [sys.executable, "-m", "pipelines.cluster.build_images", *words]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        return done, log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    return made


CONFIG = {"config": {"digest": "sha256:0", "mediaType": "application/vnd.oci.image.config.v1+json"}}
LABELS = {CODE: code_of("light")}


@contextlib.contextmanager
def registry(*there: str, labels: dict[str, str] | None = LABELS, manifest: dict = CONFIG):
    """HOST:PORT of one that has the tags that begin so, of images with such labels."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            *_, kind, name = self.path.split("/")
            has = name == "sha256:0" if kind == "blobs" else name.startswith(there)
            own = None if "minio" in self.path else labels
            self.send_response(200 if has else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"config": {"Labels": own}} if kind == "blobs" else manifest).encode())

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def tags(line: str) -> list[str]:
    """The names that a build gives."""
    return re.findall(r"--tag=(\S+)", line)


def test_without_a_registry_an_image_gets_its_names_and_stays_here(programs, make, checkout):
    programs("buildah")
    done, asked = make("light")
    assert done.returncode == 0 and done.stdout.split() == names_of("light", "localhost", checkout)
    assert [tags(line) for line in asked if " build " in line] == [names_of("light", "localhost", checkout)]
    assert not [line for line in asked if " push " in line]


def test_a_registry_is_given_every_name(programs, make, checkout):
    programs("buildah")
    with registry("none") as host:
        _, asked = make("train", REGISTRY=host)
    assert [line.split()[-1] for line in asked if " push " in line] == names_of("train", host, checkout)


def test_names_that_a_registry_has_are_left_as_they_are(programs, make, checkout):
    programs("buildah")
    with registry("cli", "settle", "ingest", "split", "pool", "digest") as host:
        _, asked = make("light", REGISTRY=host)
        (report,) = (name for name in names_of("light", host, checkout) if ":report-" in name)
    assert [tags(line) for line in asked if " build " in line] == [[report]]
    assert [line.split()[-1] for line in asked if " push " in line] == [report]


def test_a_registry_that_has_all_of_an_image_costs_no_build(programs, make):
    programs("buildah")
    with registry("") as host:
        done, asked = make("light", "train", "minio", REGISTRY=host)
    assert done.returncode == 0 and asked == []


@pytest.mark.parametrize(
    "has",
    [{"labels": {CODE: "0123456789abcdef"}}, {"labels": {}}, {"labels": None}, {"manifest": {"manifests": []}}],
    ids=["other code", "no such label", "no label", "a list of images"],
)
def test_tags_with_other_code_are_pushed_again_and_a_line_says_what_nodes_keep(has, programs, make, checkout):
    programs("buildah")
    with registry("", **has) as host:
        done, asked = make("light", REGISTRY=host)
    (built,) = (line for line in asked if " build " in line)
    assert f"--label={CODE}={code_of('light', checkout)}" in built
    assert [line.split()[-1] for line in asked if " push " in line] == names_of("light", host, checkout) == tags(built)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"light: {host} had older code under {COMMAND}-")
    assert line.endswith("keep the older code unless image_pull_policy in place.yaml is Always")


def test_a_change_of_a_module_that_computes_nothing_reaches_the_tags_that_it_does_not_change(programs, make, checkout):
    programs("buildah")
    before = names_of("train", "r", checkout)
    with (checkout / "src" / "syntrial" / "store" / "objects.py").open("a", encoding="utf-8") as text:
        text.write("changed = True\n")
    assert names_of("train", "r", checkout) == before
    with registry("") as host:
        _, asked = make("train", REGISTRY=host)
    assert [line.split()[-1] for line in asked if " push " in line] == names_of("train", host, checkout)


def test_a_module_that_moves_to_another_room_is_other_code(checkout):
    before = code_of("light", checkout)
    (checkout / "src" / "syntrial" / "words.py").rename(checkout / "src" / "syntrial" / "judging" / "words.py")
    assert code_of("light", checkout) != before


@pytest.mark.parametrize("missing", ["version", "buildx"])
def test_a_builder_that_does_not_work_is_passed_over(missing, programs, make):
    programs("docker", fails_at=missing)
    programs("buildah")
    _, asked = make("light")
    assert [line.split()[0] for line in asked if " build " in line] == ["buildah"]


def test_the_builder_that_is_named_is_taken(programs, make, tmp_path):
    programs("docker")
    programs("podman")
    _, asked = make("light", BUILDER=str(tmp_path / "bin" / "podman"), BUILD_OPTIONS="--network=host --jobs 2")
    assert [line.split()[0] for line in asked] == ["podman", "podman"]
    assert "--network=host --jobs 2" in asked[-1]


@pytest.mark.parametrize(
    ("words", "own", "sentence"),
    [
        (
            ["light"],
            {},
            "none of docker, podman, buildah works here; install one, or name it with BUILDER=/path/to/one",
        ),
        (
            ["light"],
            {"BUILDER": "kaniko"},
            "BUILDER is 'kaniko'; it is one of docker, podman, buildah, or a path to one",
        ),
        (["light"], {"BUILDER": "podman"}, "BUILDER is 'podman', which does not work here; `podman info` should"),
        (["heavy"], {}, "there is no image heavy; there are light, train, minio"),
        (
            ["light"],
            {"REGISTRY": "https://ghcr.io/x"},
            "REGISTRY is 'https://ghcr.io/x'; it is HOST[:PORT][/PATH], such as ghcr.io/hospital or 127.0.0.1:5000",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(words, own, sentence, programs, make):
    done, _ = make(*words, **own)
    assert (done.returncode, done.stderr) == (2, f"error: {sentence}\n")


def test_a_build_that_fails_ends_in_one_sentence(programs, make):
    programs("buildah", fails_at="build")
    done, _ = make("light")
    assert done.returncode == 2
    assert done.stderr == "error: light could not be built: buildah ended with status 1; above is what it said\n"


def test_an_image_whose_code_changed_meanwhile_goes_nowhere(programs, make, checkout):
    programs("buildah")
    with registry("none") as host:
        done, asked = make("light", REGISTRY=host, CHANGES=str(checkout / "src" / "syntrial" / "split.py"))
    assert (done.returncode, [line for line in asked if " push " in line]) == (2, [])
    assert "files of light changed while it was being built" in done.stderr


def test_a_registry_that_refuses_is_named(programs, make, checkout):
    programs("buildah", fails_at="push")
    with registry("none") as host:
        done, _ = make("minio", REGISTRY=host)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert (
            f"{host} did not take {minio_of(host, checkout)} (it may want a login first): buildah ended with status 1"
            in done.stderr
        )


def test_a_build_reaches_the_package_index_of_this_machine_and_tells_nobody(programs, make, tmp_path):
    programs("buildah")
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\nindex_url = https://overruled\ntrusted-host = mirror\n")
    (tmp_path / "trusted.pem").write_text("whom this hospital trusts\n")
    own = {"PIP_INDEX_URL": "https://me:pass@mirror/simple", "PIP_CERT": str(tmp_path / "trusted.pem")}
    _, asked = make("light", **own, GOPROXY="https://me:pass@mirror/go")
    assert (tmp_path / "log.pip").read_text().splitlines() == [
        "[global]",
        "index_url = https://me:pass@mirror/simple",
        "trusted_host = mirror",
        "cert = /run/secrets/certificates",
    ]
    assert (tmp_path / "log.certificates").read_text() == "whom this hospital trusts\n"
    assert (tmp_path / "log.go").read_text() == "GOPROXY=https://me:pass@mirror/go\n"
    assert not re.search("mirror|pass", "".join(asked))


def test_secrets_do_not_outlive_a_build(programs, make):
    programs("buildah")
    _, asked = make("light")
    files = re.findall(r"--secret=id=\w+,src=(\S+)", "".join(asked))
    assert len(files) == 3 and not [name for name in files if Path(name).exists()]


def test_certificates_that_are_not_there_are_named(programs, make):
    programs("buildah")
    done, _ = make("light", PIP_CERT="/no/such.pem")
    assert (done.returncode, done.stderr) == (
        2,
        "error: the certificates /no/such.pem cannot be read: No such file or directory\n",
    )


def test_a_mirror_takes_the_place_of_dockers_library(programs, make):
    programs("docker")
    _, asked = make("minio", HUB="mirror.hospital/library", HTTPS_PROXY="http://me:pass@proxy")
    assert "--build-arg=HUB=mirror.hospital/library" in asked[-1]
    assert "--build-arg=HTTPS_PROXY " in asked[-1] and "pass" not in asked[-1]
