"""The report: one self-contained HTML page on the state of the loop."""

from al_loop.report.write import report_json, write_report

__all__ = ["report_json", "write_report"]
