"""Query strategies on plain arrays: which images should people label next?

Higher uncertainty means pick sooner, everywhere. Nothing here knows of images, files or models.
"""

from strategies.candidates import AnyFloats, Candidates, CandidatesError, Detections, Rows, Stacked, Table
from strategies.clusters import select_kmeans
from strategies.explore import silent
from strategies.registry import STRATEGIES, Strategy, select
from strategies.scores import entropies, least_confidences, margin_sum, margins

__all__ = [
    "STRATEGIES",
    "AnyFloats",
    "Candidates",
    "CandidatesError",
    "Detections",
    "Rows",
    "Stacked",
    "Strategy",
    "Table",
    "entropies",
    "least_confidences",
    "margin_sum",
    "margins",
    "select",
    "select_kmeans",
    "silent",
]
