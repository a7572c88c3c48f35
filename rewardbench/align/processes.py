"""What processes do together: one says how its work went before the others go on; none waits for one that failed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
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
    said = from_main(process, _said(error))
    if error is not None:
        raise error
    if said is not None:
        raise said[0](said[1])


def on_all(process: Any, work: Callable[[], T]) -> T:
    """Let every process do its part; none goes on before all have done theirs.

    Raises:
        RewardbenchError: in every process: its own, or else that of the first that met one.
        RuntimeError: in the others, where one met any other error.
    """
    if process.num_processes == 1:
        return work()
    from accelerate.utils import gather_object

    error: Exception | None = None
    try:
        result = work()
    except Exception as found:
        error = found
    said = [one for one in gather_object([_said(error)]) if one is not None]
    if error is not None:
        raise error
    if said:
        raise said[0][0](said[0][1])
    return result


def _said(error: Exception | None) -> tuple[type[Exception], str] | None:
    """An error as another process can raise it."""
    if error is None:
        return None
    return type(error) if isinstance(error, RewardbenchError) else RuntimeError, str(error)


@contextlib.contextmanager
def leaving_at_the_end() -> Iterator[None]:
    """Leave the group of processes, if one was entered, however the block ends: gloo aborts a process that ends as a
    member of one."""
    try:
        yield
    finally:
        if "torch" in sys.modules:
            from torch import distributed

            if distributed.is_available() and distributed.is_initialized():
                with contextlib.suppress(RuntimeError):  # what ended the block is what has to be said
                    distributed.destroy_process_group()
