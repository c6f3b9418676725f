"""Results of the monitor, for the report."""

from __future__ import annotations

import json

from al_loop.images.repository import images_by_id, source_names
from al_loop.report.data import MonitorSection, TriggerRow, WindowRow
from al_loop.state.database.monitor_tables import first_windows_of_alarms, newest_look, windows_with_models
from al_loop.state.workspace import Workspace

_WINDOWS = 500  # the newest; a plot of more shows nothing more


def monitor_section(workspace: Workspace) -> MonitorSection:
    """Return the newest verdicts, the windows, and the most drifted images of the newest drifted window."""
    store, drift = workspace.store, workspace.config.monitor.drift
    look, rows = newest_look(store), windows_with_models(store, _WINDOWS)
    # An alarm is raised at the last of the windows that raise it together.
    alarms = {first + drift.consecutive_windows - 1 for first in first_windows_of_alarms(store)}
    windows = []
    for row, model in rows:
        for signal in json.loads(row.signals)["signals"]:
            if signal["name"] == "embedding":
                effect, p = signal["effect"], signal["p"]
                alarm = row.id in alarms
                windows.append(WindowRow(row.id, row.at, model, effect, p, bool(row.drifted), alarm))
    newest = next((row for row, _ in reversed(rows) if row.drifted), None)
    ids: list[str] = json.loads(newest.signals)["strangest"] if newest else []
    names = source_names(workspace, ids)
    return MonitorSection(
        checked_at=look.at if look else None,
        verdicts=tuple(
            TriggerRow(found["trigger"], found["due"], found["reason"])
            for found in (json.loads(look.verdicts) if look else [])
        ),
        windows=tuple(windows),
        min_effect=drift.min_effect,
        most_drifted_window=newest.id if newest else None,
        most_drifted=tuple((image, names[image.id]) for image in images_by_id(workspace, ids)),
    )
