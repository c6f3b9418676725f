"""Query strategies on plain arrays: which images to label next.

Higher uncertainty means pick sooner. This package knows no images, files or models.
"""

from strategies.candidates import Candidates, CandidatesError, Detections, largest, without_detections
from strategies.clusters import select_kmeans
from strategies.coverage import MIN_COUNT_R2
from strategies.ids import Ids
from strategies.registry import STRATEGIES, Strategy, select
from strategies.rows import AnyFloats, Rows, Stacked, Table
from strategies.scores import entropies, least_confidences, margin_sum, margins, mask_margins

__all__ = [
    "MIN_COUNT_R2", "STRATEGIES", "AnyFloats", "Candidates", "CandidatesError", "Detections", "Ids", "Rows",
    "Stacked", "Strategy", "Table", "entropies", "largest", "least_confidences", "margin_sum", "margins",
    "mask_margins", "select", "select_kmeans", "without_detections",
]  # fmt: skip
