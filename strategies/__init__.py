"""Query strategies on plain arrays: which images should people label next?

Higher uncertainty means pick sooner, everywhere. Nothing here knows of images, files or models.
"""

from strategies.candidates import Candidates, CandidatesError, Detections
from strategies.clusters import select_kmeans
from strategies.explore import silent
from strategies.registry import STRATEGIES, Strategy, select
from strategies.scores import entropies, least_confidences, margin_sum, margins

__all__ = [
    "STRATEGIES",
    "Candidates",
    "CandidatesError",
    "Detections",
    "Strategy",
    "entropies",
    "least_confidences",
    "margin_sum",
    "margins",
    "select",
    "select_kmeans",
    "silent",
]
