"""The detector: everything that imports torch and the OpenMMLab packages lives here.

Importing it costs seconds, so the rest of al-loop does so only inside the functions that need a model.
The import also configures threads, memory and operators, which must happen before torch and mmdet load.
"""

import os

# torch's threads sleep while they wait instead of spinning: beside any other busy process, spinning makes
# both several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from al_loop.detector.allocator import keep_memory
from al_loop.detector.ops import install_ops

keep_memory()
install_ops()
