"""Prometheus gauges, served on a port or pushed to a gateway.

Every gauge has the labels box, protocol, kind, class, arm, seed and of; a label that does not apply is empty:

    syntrial_step                work done, in the box's unit (images shown), or the number `step` where it is logged
    syntrial_progress_ratio      share of the work that is done, 0 to 1
    syntrial_images_per_second   speed; with the unit's name where it is not images, as in syntrial_files_per_second
    syntrial_loss                (and _accuracy, _auroc) with the label `of`: loss_g is syntrial_loss{of="g"},
                                 val_accuracy is syntrial_accuracy{of="val"}
    syntrial_<name>              any other number logged, such as syntrial_diversity; NaN where it is not finite
    syntrial_failed              1 when the box ended in an error, else 0
"""

from __future__ import annotations

import functools
import math
import re
from typing import TYPE_CHECKING

from syntrial.errors import ConfigError
from syntrial.progress.events import Event
from syntrial.progress.sinks import Sink
from syntrial.progress.stderr import log_line, one_line

if TYPE_CHECKING:  # imported where it is used: most boxes do not use it and start faster without
    from prometheus_client import CollectorRegistry, Gauge

PORTS_TRIED = 20
PUSH_TIMEOUT_S = 5
MEASURED = re.compile(r"((?P<before>\w+)_)?(?P<measure>loss|accuracy|auroc)(_(?P<after>\w+))?")
GAUGE_LABELS = ("box", "protocol", "kind", "class", "arm", "seed", "of")


class Gauges(Sink):
    """Prometheus gauges, served while the process lives and pushed when the box ends."""

    def __init__(self, labels: dict[str, str], gateway: str) -> None:
        self._labels, self._gateway = labels, gateway

    def show(self, event: Event) -> None:
        _record(_registry(), self._labels, event)
        if self._gateway and event.event == "end":
            self._push(event)

    def _push(self, event: Event) -> None:
        from http.client import HTTPException

        from prometheus_client import CollectorRegistry, push_to_gateway

        own = CollectorRegistry()  # of this box alone: the gateway gives everything in one push the same labels
        _record(own, self._labels, event)
        try:
            push_to_gateway(self._gateway, "syntrial", own, dict(self._labels), timeout=PUSH_TIMEOUT_S)
        except (OSError, HTTPException, ValueError) as problem:
            log_line(
                f"warning: the gauges were not pushed to SYNTRIAL_PUSHGATEWAY={self._gateway}: {one_line(problem)}"
            )


@functools.cache
def serve(host: str, port: int) -> int:
    """The port that serves the gauges: the given one, or another when it is taken; 0 when there is none."""
    from prometheus_client import start_http_server

    for candidate in [*range(port, min(port + PORTS_TRIED, 65536)), 0]:  # 0: any free port
        try:
            server, _ = start_http_server(candidate, host, _registry())
        except OSError as problem:
            reason = problem
            continue
        taken = f"warning: port {port} is taken; " if candidate != port else ""
        log_line(f"{taken}gauges are at http://{host}:{server.server_port}/metrics")
        return server.server_port
    log_line(f"warning: no gauges are served on {host}: {one_line(reason)}")
    return 0


def port_of(text: str) -> int:
    """The port that SYNTRIAL_METRICS_PORT names. Raises ConfigError where it is none."""
    if not text.isdecimal() or int(text) > 65535:
        raise ConfigError(f"SYNTRIAL_METRICS_PORT is {text!r}; it needs a port, 1 to 65535 (0: any that is free)")
    return int(text)


def _record(registry: CollectorRegistry, labels: dict[str, str], event: Event) -> None:
    rate = f"{re.sub('[^a-z0-9]+', '_', event.unit.lower())}_per_second"
    measured = {"step": event.done, "progress_ratio": event.share, rate: event.per_s, **event.numbers}
    measured["failed"] = float(event.state == "failed")
    for name, value in measured.items():
        metric, of = _metric(name)
        all_labels = dict.fromkeys(GAUGE_LABELS, "") | labels | {"of": of}
        _gauge(registry, metric).labels(**all_labels).set(math.nan if value is None else value)


def _metric(name: str) -> tuple[str, str]:
    """Metric and label of a number: ("loss", "g") for loss_g, ("accuracy", "val") for val_accuracy."""
    found = MEASURED.fullmatch(name)
    return (found["measure"], found["before"] or found["after"] or "") if found else (name, "")


@functools.cache
def _registry() -> CollectorRegistry:
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


@functools.cache
def _gauge(registry: CollectorRegistry, name: str) -> Gauge:
    from prometheus_client import Gauge

    return Gauge(f"syntrial_{name}", name.replace("_", " "), GAUGE_LABELS, registry=registry)
