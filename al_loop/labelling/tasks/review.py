"""Send finished tasks back to people: a tab that lists them, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from al_loop.labelling.client.client import Connection, condition
from al_loop.labelling.client.task import REVIEW
from al_loop.labelling.tasks.pull import tasks_with_keys
from al_loop.labelling.tasks.push import ensure_view, tab_url


def task_pages(connection: Connection, project_id: int, keys: Sequence[str]) -> dict[str, str]:
    """Return the addresses of tasks, by key. Tasks that were deleted are left out."""
    with connection.open() as api:
        groups = tasks_with_keys(api, project_id, keys, whole=False)
    page = f"{connection.base_url}/projects/{project_id}/data?task="
    return {key: f"{page}{max(task['id'] for task in tasks)}" for key, tasks in groups.items()}


@dataclass(frozen=True)
class Review:
    """A list of tasks that were sent back: how many they are, and where people see them."""

    tasks: int
    view_id: int
    url: str


def send_back(
    connection: Connection, project_id: int, batch: str, reasons: Mapping[str, str], title: str
) -> Review:
    """Make a tab of finished tasks; safe to repeat. Tasks that were deleted are left out.

    reasons: by key of the task, one line that people see above the image.
    title: of the tab.
    The annotations stay as they are.
    """
    with connection.open() as api:
        groups = tasks_with_keys(api, project_id, list(reasons), whole=False)
        for key, tasks in groups.items():
            for task in tasks:
                api.change_data(task["id"], task["data"] | {"reason": reasons[key], REVIEW: batch})
        shown = condition(f"data.{REVIEW}", "equal", "String", batch)
        view = ensure_view(api, project_id, shown, title)
    return Review(len(groups), view, tab_url(connection.base_url, project_id, view))
