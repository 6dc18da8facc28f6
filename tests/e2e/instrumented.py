"""The same app with the exporter in its process, as the exporter's documentation shows it."""

from app import app
from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

metrics = GunicornPrometheusMetrics(app)
