"""What the monitor has seen, for the report."""

from __future__ import annotations

import json

from al_loop.images.repository import images_by_id, source_names
from al_loop.report.data import Verdict, Watch, WindowRow
from al_loop.state.database.monitor_tables import first_windows_of_alarms, newest_look, windows_with_models
from al_loop.state.workspace import Workspace
from al_loop.structures.images import ImageFile

_WINDOWS = 500  # the newest; a plot of more shows nothing more


def watched(workspace: Workspace) -> Watch:
    """Return the newest look, the windows, and the strangest images of the newest window that drifted."""
    store = workspace.store
    last = newest_look(store)
    verdicts = json.loads(last.verdicts) if last else []
    rows = windows_with_models(store, _WINDOWS)
    alarms = _alarmed(workspace)
    windows = []
    for row, model in rows:
        signals = {s["name"]: s for s in json.loads(row.signals)["signals"]}
        if "embedding" not in signals:
            continue
        own = signals["embedding"]
        windows.append(
            WindowRow(
                row.id,
                row.at,
                model,
                own["effect"],
                own["p"],
                bool(row.drifted),
                row.id in alarms,
            )
        )
    newest = next((row for row, _ in reversed(rows) if row.drifted), None)
    return Watch(
        looked_at=last.at if last else None,
        verdicts=tuple(Verdict(v["trigger"], v["due"], v["reason"]) for v in verdicts),
        windows=tuple(windows),
        threshold=workspace.config.monitor.drift.min_effect,
        strangest_of=newest.id if newest else None,
        strangest=_pictures(workspace, json.loads(newest.signals)["strangest"]) if newest else (),
    )


def _alarmed(workspace: Workspace) -> set[int]:
    """Windows at which an alarm was raised: the last of those that raised it together."""
    return {
        first + workspace.config.monitor.drift.consecutive_windows - 1
        for first in first_windows_of_alarms(workspace.store)
    }


def _pictures(workspace: Workspace, ids: list[str]) -> tuple[tuple[ImageFile, str], ...]:
    names = source_names(workspace, ids)
    return tuple((image, names[image.id]) for image in images_by_id(workspace, ids))
