"""What the answers of people say of the time that they need for an image and for a box."""

from __future__ import annotations

import numpy as np

from al_loop.state.database.cycle_table import all_cycles
from al_loop.state.database.label_table import timed_labels
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from strategies import Prices, learn_prices


def measured_prices(workspace: Workspace) -> Prices | None:
    """Return the prices of people's actions in all cycles. None for too few answers with a known time."""
    answers = {label.image_id: label for label in timed_labels(workspace.store)}
    seconds, actions = list[float](), list[list[int]]()
    for row in all_cycles(workspace.store):
        done = output_of_cycle(workspace, row.number, "pull").get("actions", {})
        for image, counts in done.items():
            if image in answers:
                seconds.append(answers[image].lead_time_s)
                actions.append(counts)
    return learn_prices(np.array(seconds), np.array(actions, np.float64).reshape(-1, 3))
