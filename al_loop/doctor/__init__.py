"""Is a workspace whole? Everything that can be wrong, and the command that mends it; nothing is changed.

examine.py        the list of checks, and what is done where one cannot go on
finding.py        what a check gets and says
records.py        the database and the settings
images.py         stored photographs
labels.py         boxes, and the sets that models are judged on
leaks.py          images that are learnt from and judged on
models.py         weights, configs, scores, rendered sets
cycles.py         manifests of finished cycles, stages of an open one
surroundings.py   rights, disk, leftovers, packages, the labelling server
"""

from al_loop.doctor.examination import Diagnosis, examine
from al_loop.doctor.finding import Finding

__all__ = ["Diagnosis", "Finding", "examine"]
