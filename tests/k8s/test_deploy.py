"""deploy and undeploy, beside a kubectl that writes down what it was asked."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

K8S = Path(__file__).parents[2] / "k8s"
MINIO = "kind: StatefulSet\nmetadata:\n  name: minio\n  namespace: somewhere\n"
THEIRS = '{"defaultPipelineRoot":"s3://theirs","providers":"s3:\\n  default: {}\\n"}'
CONTROLLERS = "spec: {podGC: {strategy: OnPodCompletion}}\n"
OURS = "{{=workflow.serviceAccountName == 'syntrial' ? 'a' : 'b'}}"
NO_MINIO = "kind: ServiceAccount\nmetadata:\n  name: syntrial\n  namespace: somewhere\n"

# Each file in $CLUSTER is something that is there, or an answer.
FAKE = """#!/usr/bin/env bash
cd "$CLUSTER"
words="$*"
echo "$words" >>asked
case "$words" in
  *"part-of!="*) [ ! -e refused ] || exit 1 ;;&
  *" /readyz") [ -e cluster ] ;;
  kustomize*) cat manifests ;;
  *"get namespace"*) [ -e namespace ] ;;
  *"get secret"*) [ -e secret ] ;;
  *"create secret"*) cat "${words#*--from-env-file=}" >secret ;;
  *"get configmap workflow-controller-configmap-before-syntrial"*) [ ! -e before ] || cat before ;;
  *"create configmap workflow-controller-configmap-before-syntrial"*) printf '%s\\0' "$@" >kept_words; echo kept ;;
  *"get configmap workflow-controller-configmap"*)
    [ ! -e unreadable ] || exit 1
    case "$words" in
      *failedPodRestart*) ;;
      *) [ ! -e controller ] || { [[ $words != *metadata.name* ]] || printf name; cat controller; } ;;
    esac ;;
  "apply -f -") cat >>applied; echo >>applied; [ ! -e unchangeable ] || { echo "spec: Forbidden" >&2; exit 1; } ;;
  *"rollout status"*) [ ! -e sick ] || exit 1 ;;
  "delete --ignore-not-found -f -") [ ! -e gone ] || exit 1 ;;
  *"get configmap -l app.kubernetes.io/part-of!=syntrial"*) [ ! -e theirs ] || echo configmap/kfp-launcher ;;
  *"get configmap kfp-launcher -o jsonpath={.data}") cat theirs ;;
  *"get configmap kfp-launcher-before-syntrial -o jsonpath={.data}") cat kept ;;
  *"get configmap kfp-launcher-before-syntrial"*) [ ! -e kept ] || echo configmap/kfp-launcher-before-syntrial ;;
  *"apply -f -") cat >>applied; echo >>applied ;;
  *"get job"*) cat job ;;
  *" logs "*) cat log ;;
esac
"""


class Cluster:
    """What kubectl speaks to, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kubectl = folder, folder / "kubectl"
        self.kubectl.write_text(FAKE, encoding="utf-8")
        self.kubectl.chmod(0o755)
        self.has(cluster="", namespace="", manifests=MINIO, job="Complete")

    def has(self, **files: str) -> None:
        for name, content in files.items():
            (self.folder / name).write_text(content, encoding="utf-8")

    def lacks(self, name: str) -> None:
        (self.folder / name).unlink()

    def asked(self) -> str:
        return (self.folder / "asked").read_text(encoding="utf-8")

    def applied(self) -> str:
        return (self.folder / "applied").read_text(encoding="utf-8")

    def keys(self) -> dict[str, str]:
        """What was made a Secret."""
        lines = (self.folder / "secret").read_text(encoding="utf-8").split()
        return dict(line.split("=", 1) for line in lines)

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {"CLUSTER": str(self.folder), "KUBECTL": str(self.kubectl), "PYTHON": sys.executable}
        values |= {"KEYS": str(self.folder / "keys.env"), **environment}
        command = [str(K8S / script), *words]
        return subprocess.run(command, env={**os.environ, **values}, capture_output=True, text=True, check=False)


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def test_the_first_time_it_makes_keys_that_it_shows_nobody(cluster):
    done = cluster.run("deploy", "laptop")
    assert done.returncode == 0, done.stderr
    assert {name: len(value) for name, value in cluster.keys().items()} == {"accesskey": 20, "secretkey": 40}
    shown = done.stdout + done.stderr + cluster.asked()
    assert not [value for value in cluster.keys().values() if value in shown]


def test_no_two_clusters_get_the_same_keys(tmp_path):
    clusters = [Cluster(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir()]
    for one in clusters:
        one.run("deploy", "laptop")
    assert not {*clusters[0].keys().values()} & {*clusters[1].keys().values()}


def test_keys_that_are_there_stay(cluster):
    cluster.has(secret="accesskey=theirs")
    assert cluster.run("deploy", "laptop").returncode == 0
    assert cluster.keys() == {"accesskey": "theirs"}


def test_keys_in_the_file_are_taken(cluster):
    cluster.has(manifests=NO_MINIO)
    (cluster.folder / "keys.env").write_text("# ours\naccesskey=abc\nsecretkey=d=efghij\n", encoding="utf-8")
    assert cluster.run("deploy", "laptop").returncode == 0
    assert "secretkey=d=efghij" in (cluster.folder / "secret").read_text(encoding="utf-8")


def test_another_store_needs_keys_of_its_own(cluster):
    cluster.has(manifests=NO_MINIO)
    said_in_one_sentence(cluster.run("deploy", "laptop"), "has to hold the keys to the store")


@pytest.mark.parametrize(
    "text", ["accesskey=abc\n", "accesskey=abc\nsecretkey=short\n", "accesskey=a\nsecretkey=longenough\n"]
)
def test_a_file_with_half_of_the_keys_or_with_short_ones_is_refused(cluster, text):
    (cluster.folder / "keys.env").write_text(text, encoding="utf-8")
    said_in_one_sentence(cluster.run("deploy", "laptop"), "has to hold the keys to the store")


def test_the_controllers_settings_are_merged_where_there_is_a_controller(cluster):
    assert "so retries are not set up" in cluster.run("deploy", "laptop").stderr
    assert "patch" not in cluster.asked()
    cluster.has(controller=OURS)
    assert cluster.run("deploy", "laptop").stderr == ""
    assert "patch configmap workflow-controller-configmap --type merge" in cluster.asked()


def test_a_launchers_settings_that_are_there_are_kept_once_and_said_to_be(cluster):
    cluster.has(theirs=THEIRS, controller=OURS)
    done = cluster.run("deploy", "laptop")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "is in kfp-launcher-before-syntrial, and undeploy restores it" in done.stderr
    assert json.loads(cluster.applied().splitlines()[0]) == launcher("kfp-launcher-before-syntrial")


def test_settings_of_our_own_are_not_kept(cluster):
    cluster.has(controller=OURS)
    assert cluster.run("deploy", "laptop").stderr == ""
    assert "kfp-launcher" not in cluster.applied()


def test_undeploy_puts_back_what_deploy_has_kept(cluster):
    cluster.has(kept=THEIRS)
    assert cluster.run("undeploy", "laptop").returncode == 0
    asked = cluster.asked()
    assert json.loads(cluster.applied()) == launcher("kfp-launcher")
    assert asked.index("delete --ignore-not-found -f -") < asked.rindex("apply -f -")
    assert asked.rindex("apply -f -") < asked.index("delete configmap kfp-launcher-before-syntrial")


def test_undeploy_has_nothing_to_put_back_where_nothing_was(cluster):
    assert cluster.run("undeploy", "laptop").returncode == 0
    assert "apply" not in cluster.asked()


def test_a_launchers_settings_that_cannot_be_read_are_not_written_over(cluster):
    cluster.has(refused="")
    assert cluster.run("deploy", "laptop").returncode == 2
    assert "apply" not in cluster.asked()


@pytest.mark.parametrize("reported", ["", CONTROLLERS], ids=["nothing", "something"])
def test_the_controllers_settings_are_kept_to_the_last_newline_before_ours_replace_them(cluster, reported):
    cluster.has(controller=reported)
    done = cluster.run("deploy", "laptop")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "is in workflow-controller-configmap-before-syntrial, and undeploy restores it" in done.stderr
    kept = (cluster.folder / "kept_words").read_text(encoding="utf-8").split("\0")
    assert {f"--from-literal=workflowDefaults={reported}", "--from-literal=failedPodRestart="} <= {*kept}
    asked = cluster.asked()
    assert asked.index("create configmap workflow-controller") < asked.index("patch configmap workflow-controller")


def test_our_own_settings_of_the_controller_are_not_kept(cluster):
    cluster.has(controller=OURS)
    assert cluster.run("deploy", "laptop").stderr == ""
    assert not (cluster.folder / "kept_words").exists()


@pytest.mark.parametrize(
    ("before", "patch"),
    [
        (
            '{"failedPodRestart":"","workflowDefaults":"a: \\"\\"\\n"}',
            {"workflowDefaults": 'a: ""\n', "failedPodRestart": None},
        ),
        ('{"failedPodRestart":"","workflowDefaults":""}', {"workflowDefaults": None, "failedPodRestart": None}),
    ],
    ids=["something", "nothing"],
)
def test_undeploy_restores_the_controllers_settings_and_changes_nothing_else(cluster, before, patch):
    cluster.has(controller=OURS, before=before)
    assert cluster.run("undeploy", "laptop").returncode == 0
    patches = re.findall("patch configmap workflow-controller-configmap --type merge -p (.*)", cluster.asked())
    assert [json.loads(each) for each in patches] == [{"data": patch}]
    assert "delete configmap workflow-controller-configmap-before-syntrial" in cluster.asked()


@pytest.mark.parametrize("now", [{"controller": CONTROLLERS}, {}], ids=["theirs again", "gone"])
def test_undeploy_leaves_a_controller_alone_that_has_not_our_settings(cluster, now):
    cluster.has(**now, before='{"workflowDefaults":"theirs"}')
    assert cluster.run("undeploy", "laptop").returncode == 0
    assert "patch" not in cluster.asked()
    assert "delete configmap workflow-controller-configmap-before-syntrial" in cluster.asked()


@pytest.mark.parametrize("script", ["deploy", "undeploy"])
def test_a_controllers_settings_that_cannot_be_read_are_not_written_over(cluster, script):
    cluster.has(controller=CONTROLLERS, before="{}", unreadable="")
    assert cluster.run(script, "laptop").returncode == 2
    assert "patch" not in cluster.asked() and "delete configmap workflow-controller" not in cluster.asked()


def test_a_kind_that_is_gone_keeps_undeploy_from_nothing_else(cluster):
    cluster.has(gone="", kept=THEIRS)
    assert cluster.run("undeploy", "laptop").returncode == 1
    assert json.loads(cluster.applied()) == launcher("kfp-launcher")


def launcher(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": json.loads(THEIRS)}


def test_buckets_that_could_not_be_made_end_it_at_once_with_the_reason(cluster):
    cluster.has(job="FailureTarget Failed", controller=OURS, log="error: the store refuses\n")
    done = cluster.run("deploy", "laptop")
    assert done.returncode == 2
    assert re.fullmatch("error: the store refuses\nerror: the buckets were not made: .*\n", done.stderr)


def test_what_cannot_be_applied_keeps_the_controller_from_nothing_and_the_cure_is_named(cluster):
    cluster.has(unchangeable="", controller=OURS)
    done = cluster.run("deploy", "laptop")
    assert done.returncode == 2
    assert re.fullmatch("spec: Forbidden\nerror: not all of laptop could be applied.*make undeploy.*\n", done.stderr)
    assert "patch configmap workflow-controller-configmap" in cluster.asked()


def test_a_minio_that_does_not_start_says_why(cluster):
    cluster.has(sick="", controller=OURS, log="error: the secret key is too short\n")
    done = cluster.run("deploy", "laptop")
    assert done.returncode == 2
    assert re.fullmatch("error: the secret key is too short\nerror: MinIO does not start: .*\n", done.stderr)


@pytest.mark.parametrize("script", ["deploy", "undeploy"])
def test_without_a_cluster_nothing_is_tried(cluster, script):
    cluster.lacks("cluster")
    said_in_one_sentence(cluster.run(script, "laptop"), "no cluster answers")
    assert cluster.asked().splitlines() == ["get --raw /readyz"]


def test_a_cluster_without_the_namespace_is_left_alone(cluster):
    cluster.lacks("namespace")
    said_in_one_sentence(cluster.run("deploy", "laptop"), "the cluster has no namespace somewhere")
    assert "apply" not in cluster.asked()


@pytest.mark.parametrize("script", ["deploy", "undeploy", "render"])
def test_an_overlay_that_is_not_there_is_named(cluster, script):
    said_in_one_sentence(cluster.run(script, "desktop"), "there is no overlay desktop; there are kubeflow, laptop")


@pytest.mark.parametrize("words", ["kubectl-9", "kubectl-9 --context lab", "kubectl"])
@pytest.mark.parametrize("script", ["deploy", "undeploy", "render"])
def test_a_kubectl_that_is_not_there_is_named(cluster, script, words):
    (cluster.folder / "bin").mkdir()
    for name in ("bash", "dirname", "env"):  # and nothing else is installed
        (cluster.folder / "bin" / name).symlink_to(str(shutil.which(name)))
    done = cluster.run(script, "laptop", KUBECTL=words, PATH=str(cluster.folder / "bin"))
    said_in_one_sentence(done, f"{words} is not installed")


def test_undeploy_leaves_data_alone_unless_asked(cluster):
    assert cluster.run("undeploy", "laptop").returncode == 0
    assert "persistentvolumeclaim" not in cluster.asked()
    assert "secret" not in cluster.asked()
    assert cluster.run("undeploy", "laptop", "delete").returncode == 0
    assert "delete persistentvolumeclaim -l app.kubernetes.io/name=syntrial-minio" in cluster.asked()
    assert "delete --ignore-not-found secret syntrial-store" in cluster.asked()


def said_in_one_sentence(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert sentence in done.stderr
