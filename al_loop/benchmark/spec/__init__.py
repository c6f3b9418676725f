"""What a benchmark runs on: its spec, datasets and initial models."""
