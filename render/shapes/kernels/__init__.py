"""Building blocks of the built-in shapes: surfaces, patches, implicit functions, plates."""
