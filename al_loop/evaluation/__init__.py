"""How good predictions are: AP, its confidence intervals, counts of boxes."""
