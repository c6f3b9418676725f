"""Gauges for Prometheus: a file for the textfile collector of its node exporter."""

from __future__ import annotations

from pathlib import Path

from al_loop.core.errors import ConfigError, DataError
from al_loop.monitor.run import CheckResult


def write_textfile(result: CheckResult, workspace: str, path: Path) -> None:
    """Write the gauges of one workspace; the file is replaced atomically.

    Raises ConfigError without prometheus_client, DataError if the file cannot be written.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
    except ImportError:
        raise ConfigError(
            "--prometheus needs prometheus_client. Install it: pip install 'al-loop[prometheus]'"
        ) from None
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"al_loop_{name}", text, ["workspace", *labels], registry=registry)

    gauge("triggered", "1: a cycle is due").labels(workspace).set(result.triggered)
    gauge("cycle_under_way", "1: a cycle is open").labels(workspace).set(result.under_way is not None)
    gauge("new_images", "New images of the last check").labels(workspace).set(result.new_images)
    gauge("inbox_waiting", "Files still being written").labels(workspace).set(len(result.inbox.waiting))
    gauge("last_look_seconds", "End of the last check").labels(workspace).set_to_current_time()
    due = gauge("trigger_due", "1: the trigger is due", "trigger")
    numbers = gauge("trigger", "Numbers of the triggers", "trigger", "number")
    for verdict in result.verdicts:
        due.labels(workspace, verdict.trigger).set(verdict.due)
        for name, value in verdict.numbers.items():
            numbers.labels(workspace, verdict.trigger, name).set(value)
    batch = gauge("batch", "Means over the new images", "number")
    for name, value in result.numbers.items():
        batch.labels(workspace, name).set(value)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}). Name another: --prometheus FILE"
        ) from None
