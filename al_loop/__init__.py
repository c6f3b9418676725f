"""al-loop: an active-learning labelling loop for industrial object detection."""

__version__ = "0.1.0"
