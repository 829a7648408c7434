"""A client of Kubeflow Pipelines: one set of flags, JSON in and out, and each error in one sentence.

`kfp.Client` locates the server and the credentials. The requests are made here, because those of `kfp.Client` print
links, have no timeout, and do not detect a canceled run.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp
import kfp.client
from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError, SSLError

from syntrial.errors import ConfigError, SyntrialError

TIMEOUT_S = (10, 60)  # to connect, and between two reads of a response
PAGE = 100  # items of a list per request
SHOWN = 10  # known names that a message lists
NAMESPACE = "kubeflow"
IAP = "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"  # Google's login, for which kfp.Client guides the user
WHO = "set KFP_TOKEN, KFP_COOKIE, --token-file or --cookie-file to authenticate"

Json = dict[str, Any]


class KubeflowError(SyntrialError, RuntimeError):
    """Kubeflow refuses a request, or lacks what it asks for."""


class TakenError(KubeflowError):
    """A name that has been taken in the meantime."""


class AwayError(KubeflowError):
    """Kubeflow does not answer; this may be temporary."""


def add_kubeflow(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the address of Kubeflow and for authentication."""
    parser.add_argument(
        "--host",
        default="",
        metavar="URL",
        help="Kubeflow Pipelines (default: KFP_ENDPOINT, KF_PIPELINES_ENDPOINT, or the cluster of the kubeconfig)",
    )
    parser.add_argument(
        "--namespace",
        default="",
        help=f"namespace of Kubeflow, or of the user where there are several (default: KFP_NAMESPACE, {NAMESPACE})",
    )
    parser.add_argument("--token-file", default="", metavar="FILE", help="bearer token (default: that in KFP_TOKEN)")
    parser.add_argument("--cookie-file", default="", metavar="FILE", help="login cookie (default: that in KFP_COOKIE)")


def connect(flags: argparse.Namespace) -> Kubeflow:
    """Connects to the Kubeflow that the flags or the environment name.

    Raises:
        KubeflowError: none is named, the server is not Kubeflow Pipelines, or authentication fails.
    """
    host = flags.host or os.environ.get("KFP_ENDPOINT") or os.environ.get("KF_PIPELINES_ENDPOINT") or ""
    namespace = flags.namespace or os.environ.get("KFP_NAMESPACE") or NAMESPACE
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would warn about each try
    output = io.StringIO()
    with contextlib.redirect_stdout(sys.stderr if os.environ.get(IAP) else output), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = _Client(host=host or None, namespace=namespace, **_credentials(flags))
    if not host and "Failed to load kube config" in output.getvalue():
        raise KubeflowError("no Kubeflow is named; set --host or KFP_ENDPOINT, such as http://localhost:8888")
    return Kubeflow(client, re.sub("//[^/@]*@", "//", host) or "the Kubeflow of the kubeconfig", namespace)


class Kubeflow:
    """The API of a Kubeflow Pipelines server.

    Raises:
        AwayError: from any method, if the server does not answer.
        KubeflowError: from any method, if the server refuses the request or lacks what it asks for.
    """

    def __init__(self, client: kfp.Client, name: str, namespace: str) -> None:
        self.name = name
        self._api = client._run_api.api_client  # no public method makes requests with a timeout
        health = self.ask("GET", "/apis/v2beta1/healthz")
        if not isinstance(health, dict) or "multi_user" not in health:
            login = isinstance(health, str) and "<html" in health.lower()
            page = f"with an HTML page, perhaps a login; {WHO}" if login else "but not as Kubeflow Pipelines does"
            raise KubeflowError(f"{name} answers {page}")
        # In single-user mode, a request that names a namespace is an error.
        self.namespace = namespace if health["multi_user"] else ""

    def ask(self, method: str, path: str, body: Json | None = None, **query: Any) -> Any:
        """Sends a request. Returns the decoded response: JSON if it is JSON, else text."""
        return self._send(method, path, query=list(query.items()), body=body, response_type="object")

    def upload(self, path: str, file: Path, **query: Any) -> Any:
        """Uploads a file. Returns the decoded response."""
        headers = {"Content-Type": "multipart/form-data"}
        return self._send(
            "POST", path, list(query.items()), headers, files={"uploadfile": str(file)}, response_type="object"
        )

    def text(self, path: str) -> str:
        """Gets a response as text, such as a log."""
        content: bytes = self._send("GET", path, _preload_content=False).data
        return content.decode("utf-8", errors="replace")

    def pages(self, path: str, field: str, **query: Any) -> Iterator[Json]:
        """All items of a list; pages are requested as they are needed."""
        token = ""
        while True:
            page = self.ask("GET", path, **{"page_size": PAGE, "page_token": token, **query})
            yield from page.get(field) or []
            token = page.get("next_page_token") or ""
            if not token:
                return

    def named(self, path: str, field: str, name: str, **query: Any) -> list[Json]:
        """The items of a list that have a certain name."""
        return list(self.pages(path, field, filter=where("display_name", "EQUALS", name), **query))

    def experiment(self, name: str, create: bool = False) -> str:
        """The id of an experiment. Raises KubeflowError if it does not exist and `create` is false."""
        path, mine = "/apis/v2beta1/experiments", {"namespace": self.namespace} if self.namespace else {}
        if found := self.named(path, "experiments", name, **mine):
            return str(found[0]["experiment_id"])
        if create:
            with contextlib.suppress(TakenError):  # created by another client in the meantime
                self.ask("POST", path, {"display_name": name, **mine})
            return self.experiment(name)
        known = [one["display_name"] for one in self.pages(path, "experiments", **mine)]
        raise KubeflowError(f"{self.name} has no experiment {name!r}; {nearest(name, known)}")

    def _send(self, method: str, path: str, query: Any = None, headers: Any = None, **more: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self._api.call_api(
                    path,
                    method,
                    query_params=query or [],
                    header_params={"Accept": "application/json", **(headers or {})},
                    auth_settings=["Bearer"],
                    _return_http_data_only=True,
                    _request_timeout=TIMEOUT_S,
                    **more,
                )
        except ApiException as error:
            raise self._refusal(error.status, error.body) from None
        except HTTPError as error:
            raise self._silence(error) from None
        except ValueError:  # its message contains the header
            raise KubeflowError("the token or the cookie contains a character that HTTP headers cannot hold") from None

    def _refusal(self, status: int, body: Any) -> KubeflowError:
        if status == 401:
            return KubeflowError(f"{self.name} requires authentication (401); {WHO}")
        answer = f"{self.name} answers: {_message(body)} ({status})"
        if status >= 500 or status == 429:
            return AwayError(answer)
        if status == 409:
            return TakenError(answer)
        return KubeflowError(f"{answer}; set --namespace to yours" if status == 403 else answer)

    def _silence(self, error: HTTPError) -> KubeflowError:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, SSLError):
            if "WRONG_VERSION" in str(reason) or "RECORD" in str(reason):
                return KubeflowError(f"{self.name} does not encrypt; write http:// before the host")
            return KubeflowError(f"no trusted, encrypted connection to {self.name} is possible")
        found = re.search(r"\[Errno -?\d+\] ([^')\"]+)", str(reason))
        why = found[1] if found else type(reason).__name__
        return AwayError(f"{self.name} does not answer ({why}); is it running, and reachable?")


class _Client(kfp.Client):  # type: ignore[misc]
    """Skips the health check of kfp.Client, which retries for 20 s without authentication; `Kubeflow` checks once."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        return argparse.Namespace(multi_user=False)


def where(key: str, operation: str, value: str, called: str = "operation") -> str:
    """A filter for lists. Version 1 of the API calls the operation "op"."""
    return json.dumps({"predicates": [{called: operation, "key": key, "string_value": value}]})


def segment(word: object) -> str:
    """A text, quoted as one segment of a path."""
    return quote(str(word), safe="")


def nearest(name: str, known: list[str]) -> str:
    """A hint for an unknown name: a similar known name, else the known names."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it has {', '.join(sorted(set(known))[:SHOWN])}" if known else "it has none yet"


def _credentials(flags: argparse.Namespace) -> Json:
    found: Json = {}
    mounted = os.environ.get(kfp.client.KF_PIPELINES_SA_TOKEN_ENV) or kfp.client.KF_PIPELINES_SA_TOKEN_PATH
    if flags.token_file:
        _read(flags.token_file, "token")
        found["credentials"] = ServiceAccountTokenVolumeCredentials(
            flags.token_file
        )  # reads the file again for each request
    elif token := os.environ.get("KFP_TOKEN", "").strip():
        found["existing_token"] = token
    elif os.path.exists(mounted):
        found["credentials"] = ServiceAccountTokenVolumeCredentials(mounted)
    if cookie := _read(flags.cookie_file, "cookie") if flags.cookie_file else os.environ.get("KFP_COOKIE", "").strip():
        found["cookies"] = cookie
    return found


def _read(path: str, what: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "it is no text")
        raise ConfigError(f"the {what} cannot be read from {path}: {why}") from None
    if not content:
        raise ConfigError(f"{path} is empty; it must contain the {what}")
    return content


def _message(body: Any) -> str:
    """The message of an error response, in one line."""
    text = str(body or "nothing")
    with contextlib.suppress(ValueError, AttributeError):  # no JSON, or not of Kubeflow's form
        answer = json.loads(text)
        inner = (answer.get("details") or [{}])[0]
        text = str(inner.get("message") or answer.get("message") or answer.get("error_message") or text)
    return " ".join(re.sub("<[^>]*>", " ", text).split())[:300]
