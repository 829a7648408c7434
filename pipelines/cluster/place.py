"""Where boxes run on a cluster, and with which resources: the settings of one file, which are not part of a study."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

from kfp import dsl, kubernetes
from pydantic import Field, model_validator

from pipelines.boxes import BOXES, Box
from pipelines.cluster.containers import REGISTRY, image_of
from syntrial.config import stated
from syntrial.settings import Config, setting

KEYS = {"accesskey": "MINIO_ACCESS_KEY", "secretkey": "MINIO_SECRET_KEY"}  # of the store's Secret -> environment
SALT = {"salt": "SYNTRIAL_SALT"}  # an optional key of the same Secret: the salt for the hashes of DICOM patient ids
S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION")
ADDRESS = ("MINIO_ENDPOINT", "MINIO_SECURE", "SYNTRIAL_CHECKPOINT_URI")  # of the store's ConfigMap
CA = ("syntrial-ca", "/etc/syntrial-ca")  # an optional ConfigMap with a certificate, and its mount path
MANNERS = ("MINIO_REGION", "SYNTRIAL_CHECKPOINT_EVERY_S", "SYNTRIAL_STORAGE_PATIENCE_S")  # likewise, but optional
EVERYWHERE = (
    "SSL_CERT_FILE",
    "SYNTRIAL_METRICS_HOST",
    "SYNTRIAL_METRICS_PORT",
    "SYNTRIAL_PUSHGATEWAY",
)  # likewise, for every box
LABEL = ("app.kubernetes.io/part-of", "syntrial")
BY_PROCESSORS = ("SYNTRIAL_THREADS", "SYNTRIAL_WORKERS")  # would default to the number of the node's processors
LONGEST_S = (
    f"{10 * 365 * 86_400}s"  # the engine counts it from the first try, and its default of an hour would stop retries
)
SIZE = r"^[1-9][0-9]*(Mi|Gi)$"
LABEL_VALUE = r"(([A-Za-z0-9][A-Za-z0-9_.-]{0,61})?[A-Za-z0-9])?"
LABEL_KEY = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?([A-Za-z0-9][A-Za-z0-9_.-]{0,61})?[A-Za-z0-9]"
OBJECT = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"  # the name of a Secret, ConfigMap or account


class Stage(Config):
    """Requests and limits of each box of a stage."""

    cpu: float = setting(1, "requested cores, reserved for the box", "ours", ge=0.001, le=1024)
    cpu_limit: float = setting(2, "limit of cores, and the number of threads", "ours", ge=0.001, le=1024)
    memory: str = setting("2Gi", "requested memory, and its limit", "ours", pattern=SIZE)
    timeout_s: int = setting(6 * 3600, "s; a try that takes longer is ended", "ours", ge=60)
    retries: int = setting(3, "retries after a failure, an eviction or the loss of a node", "ours", ge=0, le=100)

    @model_validator(mode="after")
    def _may_use_what_it_asks_for(self) -> Self:
        if self.cpu > self.cpu_limit:
            raise ValueError(f"cpu is {self.cpu:g} and cpu_limit {self.cpu_limit:g}; cpu must not exceed cpu_limit")
        return self


class Toleration(Config):
    """A toleration of taints, as in Kubernetes."""

    key: str = setting(
        "", "key of the taint; empty with operator Exists: all taints", "Kubernetes", pattern=f"^({LABEL_KEY})?$"
    )
    operator: Literal["Exists", "Equal"] = setting("Equal", "Equal compares the value, Exists ignores it", "Kubernetes")
    value: str = setting("", "value of the taint", "Kubernetes", pattern=f"^{LABEL_VALUE}$")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = setting(
        "", "effect of the taint; empty: all effects", "Kubernetes"
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Self:
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator is Equal and key is empty; give the taint's key, or use Exists for all taints")
        if self.operator == "Exists" and self.value:
            raise ValueError(f"operator is Exists and value is {self.value!r}, which only Equal uses")
        return self


class Gpus(Config):
    """GPUs of each training box, and the labels and taints of GPU nodes."""

    count: int = setting(1, "GPUs of a training box; 0: it runs on CPUs, like boxes without torch", "ours", ge=0, le=1)
    resource: str = setting(
        "nvidia.com/gpu", "name of the GPUs as a resource of nodes", "NVIDIA's device plugin", pattern=f"^{LABEL_KEY}$"
    )
    node_selector: dict[
        Annotated[str, Field(pattern=f"^{LABEL_KEY}$")], Annotated[str, Field(pattern=f"^{LABEL_VALUE}$")]
    ] = setting({}, "labels that a GPU node must have", "ours")
    tolerations: list[Toleration] = setting(
        [Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")],
        "taints of GPU nodes that training boxes tolerate",
        "the usual taint of GPU nodes",
    )
    node_label: str = setting(
        "nvidia.com/gpu.present",
        "label of nodes where boxes without a GPU do not run; empty: they may run on all nodes",
        "NVIDIA's feature discovery",
        pattern=f"^({LABEL_KEY})?$",
    )
    shared_memory: str = setting(
        "1Gi", "size of /dev/shm of a box with a GPU, a part of its memory", "ours", pattern=SIZE
    )
    tflops: float = setting(
        10, "1e12 operations per second that a GPU sustains; used by --dry-run only", "ours, not measured", gt=0
    )
    step_ms: float = setting(
        5, "ms; shortest step of a small network on a GPU; used by --dry-run only", "ours, not measured", gt=0
    )


class Place(Config):
    """The settings of a cluster."""

    registry: str = setting(
        "localhost",
        "registry of the container images, HOST[:PORT][/PATH]; overridden by REGISTRY in the environment",
        "ours",
        pattern=f"^{REGISTRY.pattern}$",
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = setting(
        "IfNotPresent", "when nodes pull images; a tag identifies the content, so an image is never outdated", "ours"
    )
    image_pull_secrets: list[Annotated[str, Field(pattern=f"^{OBJECT}$")]] = setting(
        [], "names of the Secrets for the registry", "ours"
    )
    service_account: str = setting(
        "syntrial",
        "service account of the boxes; with another, k8s/ does not make their root file system read-only",
        "k8s/",
        pattern=f"^{OBJECT}$",
    )
    store: str = setting(
        "syntrial-store", "name of the ConfigMap and of the Secret of the object store", "k8s/", pattern=f"^{OBJECT}$"
    )
    data_secret: str = setting(
        "",
        f"name of a Secret for s3:// data, with any of the keys {', '.join(S3)}; empty: public data",
        "ours",
        pattern=f"^({OBJECT})?$",
    )
    light: Stage = Field(default_factory=Stage)  # boxes without torch
    train: Stage = Field(default_factory=Stage)
    gpus: Gpus = Field(default_factory=Gpus)

    @model_validator(mode="after")
    def _shared_memory_is_a_part(self) -> Self:
        if self.gpus.count and _mebibytes(self.gpus.shared_memory) > _mebibytes(self.train.memory):
            raise ValueError(
                f"gpus.shared_memory is {self.gpus.shared_memory} and train.memory {self.train.memory}; shared memory "
                "is a part of the memory"
            )
        return self


def _mebibytes(size: str) -> int:
    return int(size[:-2]) * {"Mi": 1, "Gi": 1024}[size[-2:]]


def add_place(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name a place."""
    parser.add_argument(
        "--place", default="k8s/place.yaml", help="where boxes run, with which resources (default: %(default)s)"
    )
    parser.add_argument("--gpus", type=int, help="GPUs of each training box; overrides the file; 0: none")


def load_place(path: str | Path, gpus: int | None = None) -> Place:
    """The place in a YAML file ("": all defaults). `gpus` overrides the file's number of GPUs per training box.

    Raises:
        ConfigError: no such file, not YAML, or a setting that is misspelt or invalid.
    """
    content = stated(Path(path), "place", "k8s/place.yaml is one") if str(path) else {}
    if registry := os.environ.get("REGISTRY"):
        content["registry"] = registry
    place = Place.of(content, where=Path(path).name)
    if gpus is None:
        return place
    return place.model_copy(update={"gpus": Gpus.of(place.gpus.model_dump(), where="--gpus", count=gpus)})


def placed(place: Place) -> Callable[[dsl.PipelineTask], None]:
    """A function that sets a box's image, resources, nodes, credentials and security, for the graph."""

    def put(task: dsl.PipelineTask) -> None:
        name = str(task.component_spec.name).replace("-", "_")
        box = BOXES[name]
        task.set_container_image(image_of(name, place.registry))
        _allow(task, place.train if box.torch else place.light)
        _on_nodes(task, place.gpus, uses_gpu=box.torch and place.gpus.count > 0)
        _connect(task, place, box)
        _secure(task, place)

    return put


def _allow(task: dsl.PipelineTask, stage: Stage) -> None:
    task.set_cpu_request(_cores(stage.cpu)).set_cpu_limit(_cores(stage.cpu_limit))
    task.set_memory_request(stage.memory).set_memory_limit(stage.memory)
    for name in BY_PROCESSORS:
        task.set_env_variable(name, str(math.ceil(stage.cpu_limit)))
    task.set_env_variable("OPENBLAS_NUM_THREADS", "1")  # as in a local run
    task.set_retry(stage.retries, backoff_duration="30s", backoff_factor=1, backoff_max_duration=LONGEST_S)
    kubernetes.set_timeout(task, stage.timeout_s)


def _cores(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _on_nodes(task: dsl.PipelineTask, gpus: Gpus, uses_gpu: bool) -> None:
    if not uses_gpu:
        if gpus.node_label:
            away = {"key": gpus.node_label, "operator": "DoesNotExist"}
            kubernetes.add_node_affinity(task, match_expressions=[away])
        return
    task.set_accelerator_type(gpus.resource).set_accelerator_limit(gpus.count)
    task.set_env_variable(
        "SYNTRIAL_DEVICE", "cuda"
    )  # without a usable GPU the box fails instead of training on the CPU
    for key, value in gpus.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in gpus.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_unset=True))
    kubernetes.empty_dir_mount(
        task, volume_name="shm", mount_path="/dev/shm", medium="Memory", size_limit=gpus.shared_memory
    )


def _connect(task: dsl.PipelineTask, place: Place, box: Box) -> None:
    """Gives a box only the credentials that it needs, by reference."""
    name, folder = CA
    kubernetes.use_config_map_as_volume(task, name, mount_path=folder, optional=True)
    kubernetes.use_config_map_as_env(task, place.store, _same(EVERYWHERE), optional=True)
    if box.stores:
        kubernetes.use_secret_as_env(task, place.store, KEYS)
        kubernetes.use_config_map_as_env(task, place.store, _same(ADDRESS))
        kubernetes.use_config_map_as_env(task, place.store, _same(MANNERS), optional=True)
    if box.reads:
        kubernetes.use_secret_as_env(task, place.store, SALT, optional=True)
    if box.reads and place.data_secret:
        kubernetes.use_secret_as_env(task, place.data_secret, _same(S3), optional=True)


def _same(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


def _secure(task: dsl.PipelineTask, place: Place) -> None:
    kubernetes.empty_dir_mount(
        task, volume_name="tmp", mount_path="/tmp"
    )  # the rest of the file system may be read-only
    kubernetes.set_security_context(task, run_as_non_root=True)
    kubernetes.add_pod_label(task, *LABEL)  # the network policy in k8s/ selects boxes by this label
    kubernetes.set_image_pull_policy(task, place.image_pull_policy)
    if place.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, place.image_pull_secrets)
