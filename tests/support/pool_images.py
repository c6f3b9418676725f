"""Import files into the pool of a workspace, as `pool add` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from al_loop.images.import_sources import import_files
from al_loop.images.ingest import IngestReport
from al_loop.images.sources import files_at
from al_loop.state.workspace import Workspace


def add_images(workspace: Workspace, paths: Iterable[Path]) -> IngestReport:
    """Import files; those that were imported before count as duplicates."""
    report = IngestReport()
    for part in import_files(workspace, (file for path in paths for file in files_at(str(path)))):
        report.added += part.added
        report.duplicates += part.duplicates + part.known
        report.refused += part.refused
        report.notes += part.notes
    return report
