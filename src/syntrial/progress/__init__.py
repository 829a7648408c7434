"""Progress of a box: a bar for people, JSON lines for programs, gauges for Prometheus.

Environment variables set where it is shown:

    SYNTRIAL_PROGRESS      folder; each box appends JSON lines (one Event per line) to a file of its own in it, and
                           draws no bar, because the process that set the folder shows it (pipelines/local/watch.py)
    SYNTRIAL_METRICS_PORT  port that serves the gauges (the next free one when it is taken), on SYNTRIAL_METRICS_HOST
                           (127.0.0.1 unless set)
    SYNTRIAL_PUSHGATEWAY   URL of a Prometheus Pushgateway; a box pushes its last gauges there when it ends
"""

from syntrial.progress.bars import Bars, draws_bars
from syntrial.progress.box import Progress
from syntrial.progress.events import Event, duration, name_of
from syntrial.progress.lifeline import Orphaned, watching

__all__ = ["Bars", "Event", "Orphaned", "Progress", "draws_bars", "duration", "name_of", "watching"]
