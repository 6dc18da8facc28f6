"""Gunicorn's configuration for it: the metrics of all workers on a port of their own."""

import os

from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics


def when_ready(server):
    port = int(os.environ["METRICS_PORT"])
    GunicornPrometheusMetrics.start_http_server_when_ready(port, host="127.0.0.1")


def child_exit(server, worker):
    GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
