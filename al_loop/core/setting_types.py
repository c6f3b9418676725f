"""Types of settings. Each has a range that all its readers accept: mmengine, NumPy, SQLite, torch, the disk.

A cycle freezes its settings, and stages read them after days of labelling. So ranges are checked when the
file is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct, inspect

from al_loop.core.errors import ConfigError

#: Text without control characters: the system and the labelling server refuse NUL, and a terminal obeys
#: escape sequences.
_PRINTED = r"^[^\x00-\x1f\x7f]*\Z"
Text = Annotated[str, Meta(max_length=4096, pattern=_PRINTED)]
ShortText = Annotated[str, Meta(max_length=255, pattern=_PRINTED)]
#: The name of an environment variable.
Variable = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x20=\x7f]+\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
Texts = Annotated[tuple[Text, ...], Meta(max_length=1000)]
ClassNames = Annotated[tuple[ShortText, ...], Meta(max_length=1000)]

#: Range of `numpy.random.seed`, which mmengine calls.
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Steps = Annotated[int, Meta(ge=1, le=10_000_000)]
Epochs = Annotated[int, Meta(ge=1, le=100_000)]
Patience = Annotated[int, Meta(ge=1, le=100_000)]
#: All images of a batch are in memory.
BatchSize = Annotated[int, Meta(ge=1, le=1024)]
#: A batch has labelled and unlabelled images.
BatchShare = Annotated[float, Meta(gt=0, lt=1)]
LossWeight = Annotated[float, Meta(gt=0, le=100)]
LearningRate = Annotated[float, Meta(ge=1e-12, le=10)]
#: Of a moving average. 1 would keep the first value.
Decay = Annotated[float, Meta(ge=0, lt=1)]
Factor = Annotated[float, Meta(ge=1e-6, le=100)]
Workers = Annotated[int, Meta(ge=0, le=128)]
Gpus = Annotated[int, Meta(ge=1, le=64)]
Side = Annotated[int, Meta(ge=1, le=8192)]
ShardSize = Annotated[int, Meta(ge=1, le=65_536)]
Gigabytes = Annotated[float, Meta(gt=0, le=1_000_000)]
#: Images of a cycle or of a trigger: a selection holds a row of each in memory.
Images = Annotated[int, Meta(ge=1, le=1_000_000)]
#: Images of a random sample; 0 for none.
SampledImages = Annotated[int, Meta(ge=0, le=1_000_000)]
AuditImages = Annotated[int, Meta(ge=2, le=1_000_000)]
Beta = Annotated[float, Meta(ge=1, le=1000)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Angle = Annotated[float, Meta(ge=0, le=180)]
Shear = Annotated[float, Meta(ge=0, le=45)]
Zoom = Annotated[float, Meta(ge=0, le=4)]
Blur = Annotated[float, Meta(ge=0, le=20)]
Hours = Annotated[float, Meta(gt=0, le=87_600)]
Cooldown = Annotated[float, Meta(ge=0, le=87_600)]
Seconds = Annotated[float, Meta(ge=0, le=604_800)]
#: The drift test holds a matrix of window and reference by window and reference in memory.
Window = Annotated[int, Meta(ge=50, le=10_000)]
WindowCount = Annotated[int, Meta(ge=1, le=1000)]
FalseAlarms = Annotated[float, Meta(gt=0, lt=1)]
Horizon = Annotated[int, Meta(ge=1, le=1_000_000)]
Effect = Annotated[float, Meta(ge=0, le=100)]
People = Annotated[int, Meta(ge=1, le=20)]
Minutes = Annotated[int, Meta(ge=1, le=10080)]
Port = Annotated[int, Meta(ge=1, le=65535)]


def words(annotation: Any) -> str | None:
    """Describe what a type allows; None where it sets no range."""
    kind = inspect.type_info(annotation)
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return next(filter(None, map(_in_words, options)), None)


def _in_words(kind: inspect.Type) -> str | None:
    if isinstance(kind, inspect.IntType):
        return f"an integer from {kind.ge} to {kind.le}"
    if isinstance(kind, inspect.FloatType):
        low = f"from {kind.ge:g}" if kind.ge is not None else f"above {kind.gt:g}"
        return f"a number {low} {f'to {kind.le:g}' if kind.le is not None else f'and below {kind.lt:g}'}"
    if isinstance(kind, inspect.StrType) and kind.pattern == _PRINTED:
        return f"text of at most {kind.max_length} characters, none of them a control character"
    if isinstance(kind, inspect.StrType) and kind.pattern is not None:
        return "64 hexadecimal digits" if kind.max_length is None else "the name of an environment variable"
    if isinstance(kind, inspect.VarTupleType):
        most = f" of at most {kind.max_length}" if kind.max_length is not None else ""
        return f"a list{most}, each {_in_words(kind.item_type) or 'as documented'}"
    if isinstance(kind, inspect.TupleType):
        return f"a list of {len(kind.item_types)}, each {_in_words(kind.item_types[0])}"
    return None


def repeated_in(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once."""
    names = tuple(names)
    return sorted({name for name in names if names.count(name) > 1})


def distinct(**lists: Iterable[str]) -> None:
    """Raise ValueError if a list names something twice; its keyword is the key in the error."""
    for key, names in lists.items():
        if repeated := repeated_in(names):
            raise ValueError(f"{key}: expected each once, got {', '.join(map(repr, repeated))} twice")


def check_classes(classes: tuple[str, ...], source: str) -> None:
    """Refuse class names that a labelling tool cannot tell apart."""
    if not classes:
        raise ConfigError(f"{source}: classes must name at least one class, got none")
    for name in classes:
        if not name or name != name.strip() or not name.isprintable():
            raise ConfigError(f"{source}: classes: {name!r} must be printable, without spaces around it")
    if repeated := repeated_in(classes):
        raise ConfigError(f"{source}: classes must be distinct, got {', '.join(repeated)} twice")


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; an unknown key is an error."""
