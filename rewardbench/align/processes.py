"""What one process does for all: it says how it went before the others go on; none waits for one that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rewardbench.errors import RewardbenchError

T = TypeVar("T")


def from_main(process: Any, value: T) -> T:
    """The first process's value, in every process.

    Args:
        process: accelerate's ``PartialState`` or ``Accelerator``.
        value: can be pickled.
    """
    if process.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    held = [value]
    broadcast_object_list(held, from_process=0)
    return held[0]


def on_main(process: Any, work: Callable[[], object]) -> None:
    """Let the first process do something while the others wait.

    Raises:
        RewardbenchError: in every process, with the sentence of the first.
        RuntimeError: in the others, where the first met any other error.
    """
    error: Exception | None = None
    if process.is_main_process:
        try:
            work()
        except Exception as found:
            error = found
    said = from_main(process, None if error is None else (_kind(error), str(error)))
    if error is not None:
        raise error
    if said is not None:
        raise said[0](said[1])


def _kind(error: Exception) -> type[Exception]:
    return type(error) if isinstance(error, RewardbenchError) else RuntimeError
