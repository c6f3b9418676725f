"""What built-in shapes are made with: surfaces, patches, implicit functions, plates."""
