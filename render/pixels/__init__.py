"""Image files into 8-bit arrays: one decoder for every reader."""
