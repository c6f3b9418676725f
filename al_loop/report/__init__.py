"""The report: one self-contained HTML page on where the loop stands and why.

data.py      what a report says, as frozen dataclasses
gather.py    reads it from the workspace: rows and numbers, no pictures
gallery.py   what the model drew and what people made of it, for the picks that get a picture
pictures.py  thumbnails, and where boxes and their tags go on them
curve.py     the plot of AP over labels, as SVG
watched.py   what the monitor has seen; drift.py plots it
versus.py    the page of `al-loop models compare`
write.py     puts it into templates/template.html and style.css
"""

from al_loop.report.write import report_json, write_report

__all__ = ["report_json", "write_report"]
