"""Models: trained, imported, compared, promoted, deleted."""
