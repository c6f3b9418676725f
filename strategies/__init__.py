"""Query strategies on plain arrays: which images should people label next?

Higher uncertainty means pick sooner, everywhere. Nothing here knows of images, files or models.
"""

from strategies.candidates import Candidates, CandidatesError, Detections, largest
from strategies.clusters import select_kmeans
from strategies.coverage import COUNTING
from strategies.explore import silent
from strategies.ids import Ids
from strategies.registry import STRATEGIES, Strategy, select
from strategies.rows import AnyFloats, Rows, Stacked, Table
from strategies.scores import entropies, least_confidences, margin_sum, margins

__all__ = [
    "COUNTING",
    "STRATEGIES",
    "AnyFloats",
    "Candidates",
    "CandidatesError",
    "Detections",
    "Ids",
    "Rows",
    "Stacked",
    "Strategy",
    "Table",
    "entropies",
    "largest",
    "least_confidences",
    "margin_sum",
    "margins",
    "select",
    "select_kmeans",
    "silent",
]
