"""Check a workspace: each problem, and the command that repairs it. Nothing is changed.

examination.py    the list of checks, and how they run
finding.py        the input and output of a check
records.py        the database and the settings
images.py         stored photographs
labels.py         boxes, and the sets that models are judged on
leaks.py          images used for both training and evaluation
models.py         weights, configs, scores, rendered sets
cycles.py         manifests of finished cycles, stages of an open one
surroundings.py   rights, disk, leftovers, packages, the labelling server
"""

from al_loop.doctor.examination import Diagnosis, examine
from al_loop.doctor.finding import Finding

__all__ = ["Diagnosis", "Finding", "examine"]
