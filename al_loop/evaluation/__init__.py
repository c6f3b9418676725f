"""Quality of predictions: AP with confidence intervals, and detection counts."""
