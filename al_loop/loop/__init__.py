"""The cycle: score, select, label, train, evaluate, promote."""
