"""Query strategies on plain arrays: which images to label next.

Higher uncertainty means pick sooner. This package knows no images, files or models.
"""

from strategies.calibration import MIN_AUC, Calibration, Evidence, calibrate
from strategies.candidates import Candidates, CandidatesError, Detections, largest, without_detections
from strategies.clusters import select_kmeans
from strategies.coreset import select_coreset
from strategies.coverage import MIN_COUNT_R2
from strategies.ids import Ids
from strategies.objects import distinct
from strategies.prices import Prices, learn_prices
from strategies.registry import STRATEGIES, Strategy, select
from strategies.rows import AnyFloats, Rows, Stacked, Table
from strategies.scores import entropies, least_confidences, margin_sum, margins, mask_margins

__all__ = [
    "MIN_AUC", "MIN_COUNT_R2", "STRATEGIES", "AnyFloats", "Calibration", "Candidates", "CandidatesError",
    "Detections", "Evidence", "Ids", "Prices", "Rows", "Stacked", "Strategy", "Table", "calibrate",
    "distinct", "entropies", "largest", "learn_prices", "least_confidences", "margin_sum", "margins",
    "mask_margins", "select", "select_coreset", "select_kmeans", "without_detections",
]  # fmt: skip
