"""Messages between the host and a worker: one JSON header, then the raw bytes of each array. Never pickle.

Both ends hold a :class:`multiprocessing.connection.Connection`, of which only ``send_bytes`` and ``recv_bytes`` are
used, so host and worker may differ in Python and numpy versions.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

PROTOCOL = 1

Message = Dict[str, Any]
Arrays = Dict[str, np.ndarray]


def send(connection: Connection, message: Mapping[str, Any], arrays: Optional[Mapping[str, np.ndarray]] = None) -> None:
    """Send ``message`` (JSON values only) and named arrays of plain numeric or boolean dtype.

    Raises:
        TypeError: for an array of objects, or a message that is not JSON.
    """
    layout: List[Tuple[str, str, List[int]]] = []
    buffers: List[np.ndarray] = []
    check_arrays(arrays or {})
    for name, array in (arrays or {}).items():
        contiguous = np.ascontiguousarray(array)
        layout.append((name, contiguous.dtype.str, list(array.shape)))
        buffers.append(contiguous)
    connection.send_bytes(json.dumps({"message": message, "arrays": layout}).encode())
    for buffer in buffers:
        connection.send_bytes(buffer.reshape(-1).view(np.uint8).data if buffer.size else b"")


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse what cannot travel.

    Raises:
        TypeError: for anything but numeric or boolean numpy arrays.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise TypeError(f"array {name!r} must be a numeric numpy array, got {getattr(array, 'dtype', type(array))}")


def receive(connection: Connection) -> Tuple[Message, Arrays]:
    """Receive one message and its arrays, which are the receiver's own (writable, C-contiguous).

    Raises:
        EOFError: if the other end is gone.
        ValueError: if what arrives is not a message.
    """
    header = json.loads(connection.recv_bytes())
    if not isinstance(header, dict) or "message" not in header or "arrays" not in header:
        raise ValueError("received something that is not a message")
    arrays: Arrays = {}
    for name, dtype, shape in header["arrays"]:
        kind = np.dtype(dtype)
        if kind.kind not in "biuf":
            raise ValueError(f"received an array of dtype {dtype!r}")
        data = connection.recv_bytes()
        arrays[name] = np.frombuffer(bytearray(data), dtype=kind).reshape(shape)
    return header["message"], arrays
