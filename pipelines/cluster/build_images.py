"""`make image`: builds images with docker, podman or buildah, whichever is there, and gives them to a registry."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.cluster.containers import CODE, RECIPES, REGISTRY, ROOT, code_of, names_of
from syntrial import __version__
from syntrial.errors import ConfigError, SyntrialError

HERE = "localhost"  # the registry that is none: what is built for it stays with the builder

# What each builder is asked to see whether it works, how it builds, and how it pushes. Zstandard packs gigabytes of
# torch in a fraction of gzip's time; docker has no such choice. Provenance would make a list of each image.
BUILDERS = {
    "docker": (["version", "buildx version"], ["buildx", "build", "--load", "--provenance=false"], []),
    "podman": (["info"], ["build"], ["--compression-format=zstd"]),
    "buildah": (["info"], ["build", "--layers"], ["--compression-format=zstd", "--compression-level=1"]),
}

# How this machine reaches its package indexes, which a build must know and an image must not. No builder hands on the
# settings of pip or Go; as build arguments they would show their passwords in an image's history, so they are secrets.
PIP = ("index_url", "extra_index_url", "trusted_host", "proxy", "timeout", "default_timeout", "retries")
GO = ("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def main(words: list[str] | None = None) -> int:
    """Prints the names of the images that are there now. Exit code 2 for what a person can mend."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.cluster.build_images", description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(RECIPES)} (default: all)")
    parser.add_argument("--names", action="store_true", help="print the names, and build nothing")
    flags = parser.parse_args(words)
    registry = os.environ.get("REGISTRY") or HERE
    try:
        check(registry, flags.images)
        for image in flags.images or RECIPES:
            names = names_of(image, registry)
            if not flags.names:
                build(image, registry, names)
            print(*names, sep="\n", flush=True)
    except SyntrialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def check(registry: str, images: list[str]) -> None:
    """Raises ConfigError for a registry that cannot be one, or an image that is not known."""
    if not REGISTRY.fullmatch(registry):
        raise ConfigError(
            f"REGISTRY is {registry!r}; it is HOST[:PORT][/PATH], such as ghcr.io/hospital or 127.0.0.1:5000"
        )
    if unknown := set(images) - set(RECIPES):
        raise ConfigError(f"there is no image {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")


def build(image: str, registry: str, names: list[str], environment: Mapping[str, str] = os.environ) -> None:
    """Builds an image and gives it those of its names that the registry lacks, or has with other code; HERE is none,
    and lacks all.

    Args:
        environment: BUILDER, docker, podman or buildah (else the first of these that works); HUB, where base images
            come from in place of Docker's library; BUILD_OPTIONS, of the builder; and what pip and Go read of it.

    Raises:
        SyntrialError: no builder works, or it fails.
    """
    code = code_of(image)
    found = {name: None if registry == HERE else code_in(name) for name in names}
    lacking = [name for name in names if found[name] != code]
    if not lacking:
        print(f"{image}: {registry} has it", file=sys.stderr)
        return
    program = find_builder(environment)
    _, command, pushing = BUILDERS[Path(program).name]
    with tempfile.TemporaryDirectory() as scratch:
        given = [*_labels(image, code), *_tags(lacking), *_reach(program, environment, Path(scratch))]
        _do([program, *command, *given, *_recipe(image, Path(scratch))], f"{image} could not be built")
    if (names_of(image, registry), code_of(image)) != (names, code):
        raise SyntrialError(f"files of {image} changed while it was being built, so no name fits it; build it again")
    for name in lacking if registry != HERE else ():
        plain = ["--tls-verify=false"] if _is_loopback(name) and Path(program).name != "docker" else []
        _do([program, "push", *pushing, *plain, name], f"{registry} did not take {name} (it may want a login first)")
    if replaced := [name.rpartition(":")[2] for name in lacking if found[name] is not None]:
        print(
            f"{image}: {registry} had older code under {', '.join(replaced)}; nodes that already hold such a tag keep "
            "the older code unless image_pull_policy in place.yaml is Always",
            file=sys.stderr,
        )


def find_builder(environment: Mapping[str, str]) -> str:
    """The program that builds: BUILDER, or the first of BUILDERS that works.

    Raises:
        ConfigError: there is none.
    """
    if chosen := environment.get("BUILDER"):
        if Path(chosen).name not in BUILDERS:
            raise ConfigError(f"BUILDER is {chosen!r}; it is one of {', '.join(BUILDERS)}, or a path to one")
        if not _works(chosen):
            asked = " and ".join(f"`{chosen} {words}`" for words in BUILDERS[Path(chosen).name][0])
            raise ConfigError(f"BUILDER is {chosen!r}, which does not work here; {asked} should")
        return chosen
    for name in BUILDERS:
        if _works(name):
            return name
    raise ConfigError(f"none of {', '.join(BUILDERS)} works here; install one, or name it with BUILDER=/path/to/one")


def code_in(name: str) -> str | None:
    """The fingerprint of the code in an image of a registry, from its label; "" for an image without a label that can
    be read. None where the registry lacks the image, or wants a login first: to push it again costs little, since
    layers that it has are not sent twice.
    """
    host, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    address = f"{'http' if _is_loopback(name) else 'https'}://{host}/v2/{repository}"
    try:
        manifest = _fetched(f"{address}/manifests/{tag}")
    except OSError:
        return None
    except ValueError:
        return ""
    try:
        labels = _fetched(f"{address}/blobs/{manifest['config']['digest']}")["config"].get("Labels") or {}
        return str(labels.get(CODE, ""))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # such as a list of images
        return ""


def _fetched(address: str) -> Any:
    """JSON from a registry."""
    request = urllib.request.Request(address, headers={"Accept": MANIFESTS})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def pip_options(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of this machine's pip, from its files and the environment, as pip itself lists them."""
    lines = _said([sys.executable, "-m", "pip", "config", "list"], environment).splitlines()
    found = [line.partition("=") for line in lines]
    return {
        name.removeprefix(f"{section}.").replace("-", "_"): str(ast.literal_eval(value))
        for section in ("global", "install", ":env:")  # the later overrules
        for name, _, value in found
        if name.startswith(f"{section}.")
    }


def pip_settings(options: Mapping[str, str], certificates: bool) -> str:
    """A pip.conf for a build: of pip's settings here, those that decide where packages come from."""
    kept = {name: " ".join(options[name].split()) for name in PIP if name in options}
    kept |= {"cert": "/run/secrets/certificates"} if certificates else {}
    return "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in kept.items())])


def go_settings(environment: Mapping[str, str]) -> str:
    """A file for Go's GOENV."""
    return "".join(f"{name}={environment[name]}\n" for name in GO if environment.get(name))


def certificates(options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The authorities that this machine trusts, where pip's settings or the environment name a file of them; else "".

    Raises:
        ConfigError: the file cannot be read.
    """
    files = filter(None, [options.get("cert"), *(environment.get(name) for name in CERTIFICATES)])
    file = next(files, "")
    try:
        return Path(file).read_text(encoding="utf-8") if file else ""
    except OSError as error:
        raise ConfigError(f"the certificates {file} cannot be read: {error.strerror}") from None


def _reach(program: str, environment: Mapping[str, str], scratch: Path) -> list[str]:
    """Options by which a build reaches what this machine reaches. Secrets are files, there while a command runs."""
    pip = pip_options(environment)
    trusted = certificates(pip, environment)
    secrets = {"certificates": trusted, "pip": pip_settings(pip, bool(trusted)), "go": go_settings(environment)}
    options = shlex.split(environment.get("BUILD_OPTIONS", ""))
    for name, text in secrets.items():
        (scratch / name).write_text(text, encoding="utf-8")
        options.append(f"--secret=id={name},src={scratch / name}")
    if environment.get("HUB"):
        options.append(f"--build-arg=HUB={environment['HUB']}")
    # podman and buildah hand on the environment's proxies, docker only those of its own settings. None keeps them.
    if Path(program).name == "docker":
        options += [f"--build-arg={name}" for name in PROXIES if environment.get(name)]
    return options


def _recipe(image: str, scratch: Path) -> list[str]:
    """Options that say what to build, and the folder it is built from."""
    if image == "minio":
        folder = ROOT / "images" / "minio"
        return [*_made_here(folder, scratch / "made"), f"--file={folder / 'Dockerfile'}", str(folder)]
    return [f"--target={image}", f"--file={ROOT / 'images' / 'Dockerfile'}", str(ROOT)]


def _made_here(folder: Path, made: Path) -> list[str]:
    """Makes the server with this machine's Go, where that is or can get the version asked for. The bytes are the same,
    and neither an image of Go nor sources that lie here already are fetched.
    """
    (version,) = re.findall(r"^ARG GO=(.+)$", (folder / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    environment = {**os.environ, "GOTOOLCHAIN": f"go{version}"}
    if not shutil.which("go") or f"go{version} " not in _said(["go", "version"], environment):
        return []
    _do(["sh", str(folder / "build"), str(made / "made")], "this machine's Go could not make MinIO", environment)
    return [f"--build-context=made={made}"]


def _labels(image: str, code: str) -> list[str]:
    if image == "minio":
        version = (ROOT / "images" / "minio" / "go.mod").read_text(encoding="utf-8").split()[-1]
    else:
        version = __version__
    revision = _said(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]).strip()
    labels = {"version": version, "revision": revision or "unknown"}
    own = [f"--label={CODE}={code}"] if code else []
    return [*(f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()), *own]


def _tags(names: list[str]) -> list[str]:
    return [f"--tag={name}" for name in names]


def _is_loopback(name: str) -> bool:
    return re.match(r"(localhost|127\.[\d.]+)(:\d+)?/", name) is not None


def _works(program: str) -> bool:
    commands = [[program, *words.split()] for words in BUILDERS[Path(program).name][0]]
    return shutil.which(program) is not None and all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands
    )


def _said(command: list[str], environment: Mapping[str, str] | None = None) -> str:
    """What a command prints; "" where it is not there or does not work."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def _do(command: list[str], trouble: str, environment: Mapping[str, str] | None = None) -> None:
    """Runs a command whose output goes to stderr. Raises SyntrialError where it fails."""
    code = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
    if code:
        raise SyntrialError(f"{trouble}: {Path(command[0]).name} ended with status {code}; above is what it said")


if __name__ == "__main__":
    sys.exit(main())
