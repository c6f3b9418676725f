"""Images into the workspace and out of it: sources, COCO, labelled sets, synthetic data."""
