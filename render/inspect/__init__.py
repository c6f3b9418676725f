"""Looking at a dataset: contact sheets and statistics."""
