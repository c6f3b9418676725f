"""What a workspace remembers: the database, stages, predictions and models. All SQL is here."""
