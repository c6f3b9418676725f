"""The reader of COCO files, for every command that takes one.

No content of a file ends in a traceback: what cannot be used is left out and listed as a problem.
"""

from render.coco.problems import Problem, listed, summarise
from render.coco.reader import load_coco, parse_coco, read_coco
from render.coco.structures import IgnoreRegions, LabelledSet, Picture

__all__ = [
    "IgnoreRegions",
    "LabelledSet",
    "Picture",
    "Problem",
    "listed",
    "load_coco",
    "parse_coco",
    "read_coco",
    "summarise",
]
