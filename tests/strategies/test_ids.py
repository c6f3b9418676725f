"""Names of many images: bytes in an array or a file, which read like a tuple of strings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from al_loop.core.files import json_hash
from al_loop.state.id_list import pool_hash, read_lines, read_pool, write_pool
from strategies import Candidates, CandidatesError, Ids
from strategies.ids import _keys
from strategies.rows import Rows


def hashes(*numbers: int) -> list[str]:
    return [hashlib.sha256(bytes([n])).hexdigest() for n in numbers]


NAMES = hashes(*range(200))
SHORT = ["image-10", "b", "image-1", "ö", "image-100"]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred names are several pieces."""
    monkeypatch.setattr("strategies.ids._PIECE", 64)
    monkeypatch.setattr("al_loop.state.id_list._PIECE", 64)


@pytest.mark.parametrize("names", [NAMES, SHORT, [], ["one"]])
def test_they_read_like_a_tuple(names: list[str]) -> None:
    ids = Ids.of(names)
    assert Ids.of(ids) is ids
    assert (len(ids), list(ids), bool(ids)) == (len(names), names, bool(names))
    assert ids == tuple(names)
    assert tuple(names) == ids
    assert ids != [*names, "x"]
    assert ids != "".join(names)
    assert [ids[i] for i in range(-len(ids), len(ids))] == names + names
    assert all(isinstance(ids[np.int64(i)], str) for i in range(len(ids)))
    index = np.arange(len(ids))[::-1]
    back = ids[index]
    assert back == names[::-1]
    assert back[index] == names  # some of some
    assert (ids[1:3], back[1:3]) == (names[1:3], names[::-1][1:3])
    assert ids[np.arange(len(ids)) % 2 == 1] == names[1::2]
    for name in names[:3]:
        assert name in ids
        assert ids.index(name) == names.index(name)
    assert "none" not in ids
    assert 7 not in ids


def test_where_names_stand() -> None:
    wanted = [NAMES[7], "f" * 64, NAMES[199], NAMES[0], hashlib.sha256(b"none").hexdigest(), "short", ""]
    expected = [7, -1, 199, 0, -1, -1, -1]
    assert Ids.of(NAMES).places(Ids.of(wanted)).tolist() == expected
    assert Ids.of(NAMES)[np.arange(200)].places(Ids.of(wanted)).tolist() == expected
    assert Ids.of(NAMES).places(Ids.of([])).tolist() == []
    assert Ids.of([]).places(Ids.of(wanted)).tolist() == [-1] * 7
    assert Ids.of(NAMES).places(Ids.of(NAMES[::-1])).tolist() == list(range(200))[::-1]
    # Two that begin alike are told apart, and other names are found as hashes are.
    alike = [NAMES[7][:16] + "0" * 48, NAMES[7][:16] + "1" * 48]
    assert Ids.of([*NAMES, *alike]).places(Ids.of([alike[1], NAMES[7], alike[0]])).tolist() == [201, 7, 200]
    assert Ids.of(NAMES).places(Ids.of(alike)).tolist() == [-1, -1]
    assert Ids.of(["b", "a" * 64]).places(Ids.of(["a" * 64, "c", "b"])).tolist() == [1, -1, 0]
    assert Ids.of(SHORT).places(Ids.of(["ö", "image-1", "x", "image-1000"])).tolist() == [3, 2, -1, -1]
    assert [int(key) for key in _keys(np.array(NAMES, "S"))] == [int(name[:16], 16) for name in NAMES]
    long = [f"a name that begins alike {n}" for n in range(100)]
    assert Ids.of(long).places(Ids.of(long[::-1])).tolist() == list(range(100))[::-1]


@pytest.mark.parametrize("names", [NAMES, sorted(NAMES), SHORT, sorted(SHORT), []])
def test_their_order_is_that_of_strings(names: list[str]) -> None:
    order = sorted(range(len(names)), key=names.__getitem__)
    ranks = Ids.of(names).ranks()
    assert ranks[order].tolist() == list(range(len(names)))
    for twice in ([*names, *names[-1:]], [*names[:1], *names]):
        if names:
            with pytest.raises(CandidatesError, match="must be distinct, got 1 repeated"):
                Candidates(twice, np.zeros(len(twice)), np.zeros((len(twice), 1)))


def test_a_pool_is_written_and_read(tmp_path: Path) -> None:
    for names in (NAMES, NAMES[:1], SHORT, []):
        path = tmp_path / f"{len(names)}.json"
        write_pool(path, iter(names))
        assert json.loads(path.read_bytes()) == names
        assert path.read_text() == json.dumps(names, ensure_ascii=True)
        assert read_pool(path) == names
        assert pool_hash(read_pool(path)) == json_hash(names)
    assert isinstance(read_pool(tmp_path / "200.json")._names.base, np.memmap)
    spaced = tmp_path / "spaced.json"
    spaced.write_text(json.dumps(NAMES, indent=2))  # a person's editor
    assert read_pool(spaced) == NAMES
    # As long as 17 hashes would be, and none.
    odd = ["x" * (68 * 17 - 4)]
    spaced.write_text(json.dumps(odd))
    assert read_pool(spaced) == odd
    for cut in (1, 68):
        spaced.write_bytes((tmp_path / "200.json").read_bytes()[:-cut])
        with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting value"):
            list(read_pool(spaced))


def test_lines_are_read_as_far_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("".join(f"{name}\n" for name in NAMES) + "half of a na")
    ids = read_lines(path, 65 * 200, 200)
    assert ids == NAMES
    assert isinstance(ids._names.base, np.memmap)
    assert not isinstance(ids[1:]._names, Rows)
    assert read_lines(path, 65 * 3, 3) == NAMES[:3]
    # As many bytes as hashes would take, and names of other lengths.
    other = ["a" * 60, "b" * 68]
    path.write_text("".join(f"{name}\n" for name in other))
    assert read_lines(path, 130, 2) == other
    assert read_lines(path, 0, 0) == []
