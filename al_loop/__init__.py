"""Active-learning labelling loop for industrial object detection."""

from al_loop.core.versions import __version__

__all__ = ["__version__"]
