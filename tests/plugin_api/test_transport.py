"""Messages between host and worker: what arrives is what was sent, and it is never pickled."""

from __future__ import annotations

from multiprocessing import Pipe

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rewardbench_plugin.transport import receive, send

ARRAYS = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3), st.dictionaries(st.text(max_size=5), st.integers()))
def test_round_trip(arrays, message) -> None:
    host, worker = Pipe()
    send(host, message, arrays)
    got, found = receive(worker)
    assert got == message
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_strided_arrays_arrive_whole() -> None:
    host, worker = Pipe()
    array = np.arange(24).reshape(4, 6)[::2, ::-1].T
    send(host, {}, {"a": array})
    np.testing.assert_array_equal(receive(worker)[1]["a"], array)


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(["text"]), [1, 2]])
def test_objects_do_not_travel(bad) -> None:
    host, _ = Pipe()
    with pytest.raises(TypeError, match="numeric numpy array"):
        send(host, {}, {"a": bad})


@pytest.mark.parametrize("junk", [b"[]", b"{}", b"\x80\x04pickle", b'{"message": {}, "arrays": [["a", "|O", [1]]]}'])
def test_junk_is_refused(junk: bytes) -> None:
    host, worker = Pipe()
    host.send_bytes(junk)
    host.send_bytes(b"\x00" * 8)
    with pytest.raises((ValueError, KeyError)):
        receive(worker)
