"""Which Kubeflow is asked, who asks, and what a person reads when that goes wrong."""

import argparse
import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from kfp_server import kubeflow_server
from object_server import answering

from pipelines.__main__ import main
from pipelines.cluster.client import AwayError, KubeflowError, connect
from syntrial.errors import ConfigError

SECRET = "a-token-that-nobody-shall-read"


def flags(**given: str) -> argparse.Namespace:
    return argparse.Namespace(**{"host": "", "namespace": "", "token_file": "", "cookie_file": "", **given})


def test_the_flag_names_the_server_before_the_environment_does(kubeflow, monkeypatch):
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:1")
    assert connect(flags(host=kubeflow.url)).name == kubeflow.url


@pytest.mark.parametrize("name", ["KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"])
def test_the_environment_names_the_server(name, kubeflow, monkeypatch):
    monkeypatch.delenv("KFP_ENDPOINT")
    monkeypatch.setenv(name, kubeflow.url)
    assert connect(flags()).name == kubeflow.url


def test_with_no_server_named_anywhere_the_flag_and_the_variable_are(kubeflow, monkeypatch, tmp_path):
    monkeypatch.delenv("KFP_ENDPOINT")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(KubeflowError, match="--host or KFP_ENDPOINT"):
        connect(flags())


def test_nothing_is_printed_but_what_is_asked_for(kubeflow):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        connect(flags()).experiment("tiny", create=True)
    assert (out.getvalue(), err.getvalue()) == ("", "")


# Who asks


@pytest.fixture
def guarded(kubeflow):
    """A Kubeflow that wants to see a token."""
    kubeflow.token = SECRET
    return kubeflow


def test_a_token_from_the_environment_opens(guarded, monkeypatch):
    monkeypatch.setenv("KFP_TOKEN", f"{SECRET}\n")
    assert connect(flags()).name == guarded.url


def test_a_token_file_is_read_anew_for_each_request(guarded, tmp_path):
    path = tmp_path / "token"
    path.write_text(SECRET, encoding="utf-8")
    kubeflow = connect(flags(token_file=str(path)))
    guarded.token = "another-token"
    path.write_text("another-token\n", encoding="utf-8")
    assert kubeflow.experiment("tiny", create=True)


def test_a_token_mounted_into_a_pod_opens(guarded, monkeypatch, tmp_path):
    (tmp_path / "token").write_text(SECRET, encoding="utf-8")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert connect(flags()).name == guarded.url


def test_a_cookie_opens(kubeflow, monkeypatch, tmp_path):
    kubeflow.cookie = "authservice_session=abc"
    (tmp_path / "cookie").write_text(f"{kubeflow.cookie}\n", encoding="utf-8")
    assert connect(flags(cookie_file=str(tmp_path / "cookie"))).name == kubeflow.url
    monkeypatch.setenv("KFP_COOKIE", kubeflow.cookie)
    assert connect(flags()).name == kubeflow.url


@pytest.mark.parametrize("token", ["", "wrong", f"{SECRET}\nand more"], ids=["none", "wrong", "of two lines"])
def test_a_token_that_does_not_open_is_never_repeated(token, guarded, monkeypatch, capsys):
    monkeypatch.setenv("KFP_TOKEN", token)
    assert main(["status"]) == 2
    reported = capsys.readouterr().err
    assert len(reported.splitlines()) == 1 and "token" in reported.lower()
    assert not token or token.splitlines()[0] not in reported


@pytest.mark.parametrize("what", ["token", "cookie"])
def test_a_file_that_is_not_there_or_empty_is_named(what, kubeflow, tmp_path):
    path = tmp_path / what
    with pytest.raises(ConfigError, match=f"{path}: No such file"):
        connect(flags(**{f"{what}_file": str(path)}))
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{path} is empty; it must contain the {what}"):
        connect(flags(**{f"{what}_file": str(path)}))


def test_among_many_users_the_namespace_is_asked_for(kubeflow):
    kubeflow.multi_user = True
    assert connect(flags(namespace="alice")).experiment("tiny", create=True)
    with pytest.raises(KubeflowError, match="--namespace"):
        connect(flags()).experiment("tiny")


def test_where_everybody_shares_a_namespace_it_is_not_asked_for(kubeflow):
    assert connect(flags(namespace="kubeflow")).namespace == ""


# What is no Kubeflow


def test_a_server_that_is_away_is_said_to_be(kubeflow, capsys):
    kubeflow.stop()
    assert main(["status"]) == 2
    assert capsys.readouterr().err == (
        f"error: {kubeflow.url} does not answer (Connection refused); is it running, and reachable?\n"
    )
    kubeflow.start()


@pytest.mark.parametrize(
    ("status", "page", "reported"),
    [
        (200, "<html>Log in</html>", "an HTML page, perhaps a login"),
        (200, "<ListAllMyBucketsResult/>", "not as Kubeflow Pipelines does"),
        (404, "404 page not found", "404 page not found"),
        (403, "RBAC: access denied", "RBAC: access denied"),
    ],
)
def test_another_server_under_that_address_is_distinguished_from_a_kubeflow(status, page, reported):
    with answering(status, page) as where, pytest.raises(KubeflowError, match=reported):
        connect(flags(host=f"http://{where}"))


def test_a_server_in_trouble_may_be_asked_again(kubeflow):
    kubeflow.refuse["GET", "/apis/v2beta1/healthz"] = 503
    with pytest.raises(AwayError, match="503"):
        connect(flags())
    assert connect(flags())


def test_a_server_without_encryption_is_told_from_one_that_is_away(kubeflow):
    with pytest.raises(KubeflowError, match="write http://"):
        connect(flags(host=kubeflow.url.removeprefix("http://")))


def test_a_password_in_the_address_is_not_repeated(capsys):
    with kubeflow_server() as server:
        where = server.url.replace("//", "//somebody:hidden@")
    assert main(["status", "--host", where]) == 2
    assert "hidden" not in capsys.readouterr().err


# What it has


def test_lists_are_read_to_their_end(kubeflow):
    kubeflow.page = 2
    asked = connect(flags())
    for number in range(5):
        asked.experiment(f"study-{number}", create=True)
    found = asked.pages("/apis/v2beta1/experiments", "experiments")
    assert [one["display_name"] for one in found] == [f"study-{number}" for number in range(5)]


def test_an_experiment_is_made_once(kubeflow):
    asked = connect(flags())
    assert asked.experiment("tiny", create=True) == asked.experiment("tiny", create=True)
    assert len(kubeflow.experiments) == 1


def test_an_unknown_experiment_is_told_with_the_nearest_known(kubeflow, capsys):
    connect(flags()).experiment("quick", create=True)
    assert main(["status", "--experiment", "quik"]) == 2
    assert capsys.readouterr().err.endswith("has no experiment 'quik'; did you mean 'quick'?\n")
