"""A pickle gives arrays and plain containers, or is refused by the name that it wants; nothing in it runs."""

import collections
import datetime
import functools
import os
import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.errors import DataError
from stillroom.modalities import pickles
from tests.modalities.skeletons.datasets.clips_on_disk import refused

TREE = {
    "split": {"train": ["a"], "test": ["b"]},
    "numbers": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "turned": np.arange(6, dtype=">i2"),
    "half": np.ones((1, 2, 3), np.float16),
    "text": np.array(["one", "three"]),
    "truth": np.array([True, False]),
    "scalar": np.float32(0.5),
    "number": np.int64(7),
    "tuple": (1, 2.5, None, True, b"bytes"),
    "set": {1, 2},
    "ordered": collections.OrderedDict(a=1),
}


def saved(folder: Path, content: bytes) -> Path:
    file = folder / "clips.pkl"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_are_given_back(tmp_path, protocol):
    found = pickles.load(saved(tmp_path, pickle.dumps(TREE, protocol)))
    for name, wanted in TREE.items():
        if isinstance(wanted, np.ndarray):
            assert np.array_equal(found[name], wanted) and found[name].dtype.kind == wanted.dtype.kind
    assert found["split"] == TREE["split"] and found["scalar"] == 0.5 and found["number"] == 7
    assert found["tuple"] == [1, 2.5, None, True, b"bytes"] and sorted(found["set"]) == [1, 2]
    assert found["ordered"] == {"a": 1}


def test_the_names_of_numpy_1_are_known_too(tmp_path):
    content = pickle.dumps(TREE["numbers"], 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert np.array_equal(pickles.load(saved(tmp_path, content)), TREE["numbers"])


class Run:
    """Pickled as a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def programs(mark: Path) -> dict[str, object]:
    """What would leave a file behind if it were run."""
    return {
        "system": Run(os.system, f"touch {mark}"),
        "eval": Run(eval, f"open({str(mark)!r}, 'w')"),
        "open": Run(open, str(mark), "w"),
        "getattr": Run(getattr, "text", "join"),
        "partial": functools.partial(os.system, f"touch {mark}"),
        "date": datetime.date(2020, 1, 1),
        "path": mark,
        "load": Run(np.load, str(mark)),
        "objects": np.array([os.system, {}], object),
        "record": np.zeros(2, [("a", "f4")]),
    }


NAMES = {
    "system": "posix.system",
    "eval": ".eval",
    "open": "io.open",
    "getattr": ".getattr",
    "partial": "functools.partial",
    "date": "datetime.date",
    "path": "pathlib.PosixPath",
    "load": "numpy.load",
    "objects": "'O8'",
    "record": "'V4'",
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("kind", sorted(NAMES))
def test_what_would_run_is_refused_by_name_and_not_run(tmp_path, kind, protocol):
    mark = tmp_path / "was_run"
    content = pickle.dumps({"annotations": [], "split": {}, "more": programs(mark)[kind]}, protocol)
    with pytest.raises(DataError) as caught:
        pickles.load(saved(tmp_path, content))
    assert not mark.exists(), "it was run"
    assert NAMES[kind] in str(caught.value) or (kind, protocol) == ("objects", 0)
    assert "clips.pkl" in str(caught.value) and "can run programs" in str(caught.value)


def test_the_same_pickles_do_run_where_they_are_trusted(tmp_path):
    """Or the test above would show nothing."""
    mark = tmp_path / "was_run"
    pickle.loads(pickle.dumps(programs(mark)["system"]))
    assert mark.exists()


def test_a_data_set_with_code_in_it_is_refused_by_prepare(tmp_path):
    mark = tmp_path / "was_run"
    file = saved(tmp_path, pickle.dumps(programs(mark)["system"]))
    message = refused("poses", tmp_path / "data", path=str(file))
    assert "it wants to run posix.system" in message and not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"no pickle",
        b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e" + struct.pack("<Q", 10**12) + b".",
        b"\x80\x02" + b"]" * 2000 + b"a" * 1999 + b".",
        b"\x80\x02cnumpy\ndtype\n}b.",
        b"\x80\x02cnumpy\nndarray\n)R.",
        pickle.dumps(TREE)[:200],
        b"\x80\x02Pid\n.",
        b"\x80\x02\x82\x01.",
    ],
    ids=[
        "empty",
        "short",
        "text",
        "memo",
        "bytes",
        "nested",
        "build",
        "call",
        "cut",
        "persistent",
        "extension",
    ],
)
def test_a_damaged_pickle_is_refused_in_words(tmp_path, content):
    with pytest.raises(DataError, match=r"clips\.pkl"):
        pickles.load(saved(tmp_path, content))


def test_an_array_that_claims_to_be_huge_takes_no_memory(tmp_path):
    content = pickle.dumps(np.zeros(3, np.uint8), 2)
    assert content.count(b"K\x03\x85") == 1, pickletools.dis(content)
    huge = content.replace(b"K\x03\x85", b"\x8a\x06" + (10**13).to_bytes(6, "little") + b"\x85")
    with pytest.raises(DataError, match=r"an array of the shape \(10000000000000,\) in 3 bytes"):
        pickles.load(saved(tmp_path, huge))


def test_a_pickle_that_holds_itself_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(DataError, match="without end"):
        pickles.load(saved(tmp_path, pickle.dumps(loop)))


def test_bytes_that_are_not_there_take_no_memory(tmp_path):
    content = b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"abc."  # BYTEARRAY8
    tracemalloc.start()
    with pytest.raises(DataError, match="ends within an array of bytes"):
        pickles.load(saved(tmp_path, content))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_list_in_many_places_is_made_once(tmp_path):
    """A few hundred bytes that would be 10^12 lists, each written out."""
    tree: list = []
    for _ in range(12):
        tree = [tree] * 10
    found = pickles.load(saved(tmp_path, pickle.dumps({"split": tree})))["split"]
    assert len(found) == 10 and all(one is found[0] for one in found)


CONTENT = pickle.dumps(TREE, 4)


@given(st.integers(0, len(CONTENT) - 1), st.integers(0, 6), st.binary(max_size=4))
@settings(deadline=None, max_examples=200)
def test_a_mutated_pickle_is_read_or_refused(tmp_path_factory, place, length, piece):
    file = tmp_path_factory.getbasetemp() / "mutated.pkl"
    file.write_bytes(CONTENT[:place] + piece + CONTENT[place + length :])
    try:
        pickles.load(file)
    except DataError as error:
        assert "mutated.pkl" in str(error)
