"""Watching what comes in: is a cycle due, and why?

inbox.py      new photographs from folders, globs and object stores into the pool, whole files only
mmd.py        the two-sample test on embeddings
signals.py    a window of images against a reference: embeddings, boxes per image, best scores
baseline.py   what the model in use was promoted on: the references
windows.py    the newest images in windows, each judged once; alarms
audit.py      how good the model was on images drawn by lot
budget.py     what the next labels should bring
triggers.py   new data, time, drift, metric, budget: what each says
look.py       one look: all of the above, recorded
prometheus.py what a look found, as gauges
calibrate.py  false alarms and power on the user's own pool
"""
