"""A local page on which people verify single boxes of the model, many at a time."""
