"""Models as one file for the machine that uses them."""
