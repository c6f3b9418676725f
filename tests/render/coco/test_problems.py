"""Sentences on what was not taken as it stands."""

from __future__ import annotations

import copy

from render.coco import Problem
from render.coco.problems import marked


def test_problems_travel_between_processes() -> None:
    problem = Problem("image 'a.png'", f"is lost since {marked(1970)}")
    back = copy.deepcopy(problem)  # by the same way as pickle
    assert back is not problem
    assert (back, back.where, back.kind) == (problem, "image 'a.png'", "is lost since …")
    assert problem.of("b.json") == "b.json, image 'a.png': is lost since 1970"
    assert problem.of("b.json").kind == "is lost since …"
