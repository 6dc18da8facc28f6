"""The Flask app that is measured plain, with the exporter in process, and behind a proxy.

Also Gunicorn's configuration for the exporter with several workers, which needs a hook.
"""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    """As little as an app can do: what remains is the server's and the exporter's."""
    return "hello"


if os.environ.get("EXPORTER"):
    from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

    GunicornInternalPrometheusMetrics(app)

    def child_exit(server, worker):
        """Gunicorn's hook: the files of a worker that ended."""
        GunicornInternalPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
