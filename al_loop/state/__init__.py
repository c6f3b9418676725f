"""State of a workspace: the database with all SQL, stages, predictions and models."""
