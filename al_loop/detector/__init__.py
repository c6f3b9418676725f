"""The detector: everything that imports torch and the OpenMMLab packages lives here.

Importing it costs seconds, so the rest of al-loop does so only inside the functions that need a model.
The operators must be there before anything imports mmdet: the one thing done at import.
"""

from al_loop.detector.ops import install_ops

install_ops()
