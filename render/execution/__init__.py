"""Who renders: worker processes here, or on a Ray cluster."""
