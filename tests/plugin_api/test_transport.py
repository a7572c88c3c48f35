"""Messages between host and worker: what arrives is what was sent, nothing is pickled, and nobody waits for junk."""

from __future__ import annotations

import json
import pickle
import socket
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rewardbench_plugin.transport import PROTOCOL, Channel

ARRAYS = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def channels() -> tuple[Channel, Channel]:
    one, other = socket.socketpair()
    return Channel(one), Channel(other)


def wire(header: object, payload: bytes = b"", size: int | None = None, magic: bytes | None = None) -> bytes:
    """The bytes of a message, written down from the description of the format."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    name = b"rbw" + bytes([PROTOCOL]) if magic is None else magic
    return struct.pack("!4sIQ", name, len(text), len(payload) if size is None else size) + text + payload


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3), st.dictionaries(st.text(max_size=5), st.integers()))
def test_round_trip(arrays, message) -> None:
    host, worker = channels()
    host.send(message, arrays)
    got, found = worker.receive()
    assert got == message
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)


def test_strided_arrays_arrive_whole() -> None:
    host, worker = channels()
    array = np.arange(24).reshape(4, 6)[::2, ::-1].T
    host.send({}, {"a": array})
    np.testing.assert_array_equal(worker.receive()[1]["a"], array)


def test_the_format_is_the_one_described() -> None:
    raw, end = socket.socketpair()
    channel = Channel(end)
    raw.sendall(wire({"message": {"op": "x"}, "arrays": [["a", "<i2", [2]]]}, b"\x01\x00\x02\x00"))
    message, arrays = channel.receive()
    assert message == {"op": "x"}
    assert arrays["a"].tolist() == [1, 2]


@pytest.mark.parametrize("bad", [np.array([object()]), np.array(["text"]), [1, 2]])
def test_objects_do_not_travel(bad) -> None:
    host, _ = channels()
    with pytest.raises(TypeError, match="numeric numpy array"):
        host.send({}, {"a": bad})


@pytest.mark.parametrize(
    "junk",
    [
        b"Traceback (most recent call last):\n",
        pickle.dumps({"message": {}, "arrays": []}) + bytes(16),
        wire([]),
        wire({}),
        wire(b"{"),
        wire(b"\xff\xfe"),
        wire({"message": [], "arrays": 3}),
        wire({"message": {}, "arrays": [["a", "|O", [1]]]}, bytes(8)),
        wire({"message": {}, "arrays": [["a", "<f8", [-1]]]}),
        wire({"message": {}, "arrays": [["a", "<f8", [1 << 60]]]}),
        wire({"message": {}, "arrays": [["a", "<f8", [2]]]}, bytes(8)),
        wire(b"[" * 100_000),
        struct.pack("!4sIQ", b"rbw" + bytes([PROTOCOL]), 0xFFFFFFFF, 0),
    ],
)
def test_junk_is_refused_at_once(junk: bytes) -> None:
    raw, end = socket.socketpair()
    raw.sendall(junk)
    with pytest.raises(ValueError, match="not a message|arrays of another size"):
        Channel(end).receive_ready()


def test_another_protocol_is_named() -> None:
    raw, end = socket.socketpair()
    raw.sendall(wire({"message": {}, "arrays": []}, magic=b"rbw" + bytes([PROTOCOL + 1])))
    with pytest.raises(ValueError, match=f"protocol {PROTOCOL + 1}, this end speaks {PROTOCOL}"):
        Channel(end).receive_ready()


def test_half_a_message_is_not_waited_for() -> None:
    raw, end = socket.socketpair()
    channel = Channel(end)
    data = wire({"message": {"op": "x"}, "arrays": [["a", "|u1", [3]]]}, b"abc") + wire({"message": {}, "arrays": []})
    for byte in data[:-1]:
        raw.sendall(bytes([byte]))
        received = channel.receive_ready()
        if received is not None:
            assert (received[0], received[1]["a"].tobytes()) == ({"op": "x"}, b"abc")
    raw.sendall(data[-1:])
    assert channel.receive_ready() == ({}, {})
    raw.close()
    with pytest.raises(EOFError):
        channel.receive_ready()


def test_an_end_that_reads_nothing_is_not_waited_for() -> None:
    host, _worker = channels()
    with pytest.raises(TimeoutError):
        host.send({}, {"a": np.zeros(20_000_000, np.uint8)}, timeout=0.2)
