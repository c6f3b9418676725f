"""Watching what comes in: whether a cycle is due, and why.

inbox.py         new photographs from folders, globs and object stores into the pool, whole files only
mmd.py           the two-sample test on embeddings
drift_tests.py   a window of images against a reference: embeddings, boxes per image, best scores
baseline.py      the references: images of the pool when the model in use was promoted
windows.py       the newest images in windows, each evaluated once; alarms
random_audit.py  how good the model was on images drawn at random
stopping.py      the gain to expect from the next labels
triggers.py      the verdicts of new-data, time, drift, metric and budget
run.py           one check: all of the above, recorded
prometheus.py    the result of a check as gauges
calibrate.py     false alarms and power on the user's pool
"""
