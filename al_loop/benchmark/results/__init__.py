"""What a benchmark found: curves, intervals, tables, plots, the page."""
