"""What the answers of people say of the time that they need for an image and for a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from al_loop.state.database.cycle_table import all_cycles
from al_loop.state.database.label_table import longest_time
from al_loop.state.stages import output_of_cycle
from al_loop.state.workspace import Workspace
from strategies import Prices, learn_prices

#: An answer in less time, s, was given without a look at the image.
_LEAST_TIME = 1.0


def measured_prices(workspace: Workspace) -> Prices | None:
    """Return the prices of people's actions in all cycles. None for too few answers with a known time.

    Of an image that several cycles had labelled, the last answer counts. Older pulls kept no actions.
    """
    answers: dict[str, Sequence[float]] = {}
    for row in all_cycles(workspace.store):
        answers |= output_of_cycle(workspace, row.number, "pull").get("actions", {})
    table = np.array(list(answers.values()), np.float64).reshape(-1, 4)
    table = table[table[:, 0] >= _LEAST_TIME]
    table = table[table[:, 0] <= longest_time(table[:, 0].tolist())]
    return learn_prices(table[:, 0], table[:, 1:])
