"""Query strategies on plain arrays: which images should people label next?

Higher uncertainty means pick sooner, everywhere. Nothing here knows of images, files or models.
"""

from strategies.candidates import Candidates, CandidatesError
from strategies.dbal import select_dbal
from strategies.explore import select_diverse, silent
from strategies.margin import margin_sum, margins, select_margin
from strategies.random import select_random
from strategies.registry import STRATEGIES, Strategy, select

__all__ = [
    "STRATEGIES",
    "Candidates",
    "CandidatesError",
    "Strategy",
    "margin_sum",
    "margins",
    "select",
    "select_dbal",
    "select_diverse",
    "select_margin",
    "select_random",
    "silent",
]
