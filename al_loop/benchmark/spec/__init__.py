"""What a benchmark runs on: its spec, its datasets, its initial models."""
