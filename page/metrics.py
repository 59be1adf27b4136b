"""What the server counts, for Prometheus: runs, their seconds, the queue and the painters. Nothing of any visitor."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request
from starlette.responses import Response

from .queue import QUEUE

# Bounds of the seconds that a run takes: from a sketch on a GPU to a print on two cores.
SECONDS = (1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 900)

REGISTRY = CollectorRegistry()
RUNS = Counter("styletransfer_runs", "Runs that are over.", ["outcome"], registry=REGISTRY)
RUN_SECONDS = Histogram("styletransfer_run_seconds", "How long finished runs took.", buckets=SECONDS, registry=REGISTRY)
PAINTERS_LOST = Counter("styletransfer_painters_lost", "Runs whose painter was lost.", registry=REGISTRY)
for name, help, read in (
    ("painters", "Painters that get work.", lambda: len(QUEUE.painters)),
    ("painting", "Visitors who are painted for.", lambda: QUEUE.painting),
    ("waiting", "Visitors who wait.", lambda: QUEUE.waiting),
):
    Gauge(f"styletransfer_{name}", help, registry=REGISTRY).set_function(read)


def count_run(outcome: str, seconds: float) -> None:
    """Count a run that is over: finished, stopped, left, refused or failed."""
    RUNS.labels(outcome).inc()
    if outcome == "finished":
        RUN_SECONDS.observe(seconds)


def send_metrics(_: Request) -> Response:
    """Answer Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_PLAIN_0_0_4)
