"""Messages between the host and a worker, over a socket of their own. Never pickle.

One message on the wire is a prefix (four bytes that name the protocol, the header's length, the payload's length), a
header in JSON (``message`` and the layout of the arrays), and the raw bytes of each array. Nothing depends on the
Python or numpy at either end. The host reads without ever waiting, so a worker that sends half a message costs nobody
but itself.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any, Dict, Generator, List, Mapping, Optional, Tuple

import numpy as np

PROTOCOL = 2
LONGEST_HEADER = 64 << 20
"""Bytes. Headers hold paths, prompts and names; what is longer is no header."""

Message = Dict[str, Any]
Arrays = Dict[str, np.ndarray]

_PREFIX = struct.Struct("!4sIQ")
_MAGIC = b"rbw" + bytes([PROTOCOL])


class Channel:
    """One end of the connection. Sending is safe from several threads, receiving belongs to one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self._reader = _assemble()
        self._wanted = memoryview(b"")

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(
        self,
        message: Mapping[str, Any],
        arrays: Optional[Mapping[str, np.ndarray]] = None,
        *,
        timeout: Optional[float] = None,
    ) -> None:
        """Send ``message`` (JSON values only) and named arrays of plain numeric or boolean dtype.

        Raises:
            TypeError: for an array of objects, or a message that is not JSON. Nothing was sent then.
            OSError: if the other end is gone, or did not take a part of the message within ``timeout`` seconds.
        """
        arrays = arrays or {}
        check_arrays(arrays)
        layout = [(name, array.dtype.str, list(array.shape)) for name, array in arrays.items()]
        header = json.dumps({"message": message, "arrays": layout}).encode()
        size = sum(array.nbytes for array in arrays.values())
        with self._sending:
            self._socket.settimeout(timeout)
            self._socket.sendall(_PREFIX.pack(_MAGIC, len(header), size) + header)
            for array in arrays.values():
                if array.size:
                    self._socket.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def receive(self) -> Tuple[Message, Arrays]:
        """Wait for the next message. Its arrays are the receiver's own (writable, C-contiguous).

        Raises:
            EOFError: if the other end is gone.
            ValueError: if what arrives is not a message of this protocol.
        """
        self._socket.settimeout(None)
        while True:
            received = self._advance()
            if received is not None:
                return received

    def receive_ready(self) -> Optional[Tuple[Message, Arrays]]:
        """Take what has arrived, without waiting: a message that is complete now, else None.

        Raises:
            EOFError, ValueError: as :meth:`receive`.
        """
        self._socket.settimeout(0)
        while True:
            try:
                received = self._advance()
            except BlockingIOError:
                return None
            if received is not None:
                return received

    def _advance(self) -> Optional[Tuple[Message, Arrays]]:
        """Receive one more piece; the message, if that was its last."""
        while not self._wanted:
            try:
                self._wanted = next(self._reader)
            except StopIteration as complete:
                self._reader = _assemble()
                message: Tuple[Message, Arrays] = complete.value
                return message
        count = self._socket.recv_into(self._wanted)
        if count == 0:
            raise EOFError("the other end is gone")
        self._wanted = self._wanted[count:]
        return None


def _assemble() -> Generator[memoryview, None, Tuple[Message, Arrays]]:
    """Yield the buffers that the next bytes belong into, and return the message once all are full."""
    prefix = bytearray(_PREFIX.size)
    yield memoryview(prefix)
    magic, length, size = _PREFIX.unpack(prefix)
    if magic[:3] == _MAGIC[:3] and magic != _MAGIC:
        raise ValueError(f"received a message of protocol {magic[3]}, this end speaks {PROTOCOL}")
    if magic != _MAGIC or length > LONGEST_HEADER:
        raise ValueError("received something that is not a message")
    text = bytearray(length)
    yield memoryview(text)
    try:
        header = json.loads(text.decode())
        message = dict(header["message"])
        arrays = {str(name): _empty(dtype, shape) for name, dtype, shape in header["arrays"]}
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"received something that is not a message ({type(error).__name__}: {error})") from None
    if size != sum(array.nbytes for array in arrays.values()):
        raise ValueError("received arrays of another size than their message says")
    for array in arrays.values():
        if array.size:
            yield array.reshape(-1).view(np.uint8).data
    return message, arrays


def _empty(dtype: str, shape: List[int]) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind not in "biuf":
        raise ValueError(f"received an array of dtype {dtype!r}")
    return np.empty(shape, kind)


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse what cannot travel.

    Raises:
        TypeError: for anything but numeric or boolean numpy arrays.
    """
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise TypeError(f"array {name!r} must be a numeric numpy array, got {getattr(array, 'dtype', type(array))}")
