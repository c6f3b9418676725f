"""The results of a benchmark: statistics, tables, plots, and the files of the report."""
