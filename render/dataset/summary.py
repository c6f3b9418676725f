"""Summary of a dataset in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from render.annotation.record_store import Record, read_records

#: A typical label below this share of its picture is rather a mistake in units than a small part.
_TINY = 0.001
_SHOWN = 5


def summary(out: Path, count: int) -> list[str]:
    """Lines on what was rendered, skipped and given up, and on what looks like a mistake."""
    records = list(read_records(out, count))
    done = [record for record in records if record.status == "done"]
    labels = sum(len(record.annotations) for record in done)
    empty = sum(not record.annotations for record in done)
    lines = [f"{len(done)} images with {labels} labels" + (f", {empty} of them without any" if empty else "")]
    lines += _skipped([record for record in records if record.status == "skipped"])
    lines += _failed([record for record in records if record.status == "failed"])
    # Every view of a scene has the scene's number.
    unplaced = sum({record.scene: record.unplaced for record in done}.values())
    if unplaced:
        lines.append(
            f"{unplaced} objects had no free position and were left out; "
            "enlarge the view, lower their count, or raise layout.tries"
        )
    return [*lines, *(f"warning: {sentence}" for sentence in scale_warnings(done))]


def scale_warnings(done: Sequence[Record]) -> Iterator[str]:
    """A sentence when what is labelled is hardly in the pictures."""
    shares = [f.bbox[2] * f.bbox[3] / (r.width * r.height) for r in done for f in r.annotations]
    cure = "check units and size_m of the parts, and the cameras' view_m"
    if done and not shares:
        yield f"not one label in {len(done)} images; {cure}"
    elif shares and float(np.median(shares)) < _TINY:
        yield f"half of the labels fill less than {np.median(shares):.2%} of their picture; {cure}"


def _skipped(records: Sequence[Record]) -> Iterator[str]:
    if records:
        reasons = Counter(record.reason for record in records).most_common(_SHOWN)
        yield f"{len(records)} views skipped before rendering: " + "; ".join(f"{n} × {r}" for r, n in reasons)


def _failed(records: Sequence[Record]) -> Iterator[str]:
    if records:
        names = ", ".join(f"records/{record.index:06d}.json" for record in records[:_SHOWN])
        more = f" and {len(records) - _SHOWN} more" if len(records) > _SHOWN else ""
        last = (records[-1].reason.strip() or "no reason").splitlines()[-1]
        yield (
            f"{len(records)} images failed and were left out, the last: {last}; "
            f"to try them again remove {names}{more}"
        )
