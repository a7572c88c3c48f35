"""What processes do together: one says how its work went before the others go on; none waits for one that failed."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from rewardbench.errors import RewardbenchError

if TYPE_CHECKING:
    from accelerate.state import PartialState

T = TypeVar("T")

PATIENCE = timedelta(days=2)
"""How long processes wait for the one that scores, or for the slowest; ten minutes would be usual on GPUs."""


def join(*, on_cpu: bool) -> PartialState:
    """Enter the group of the processes that were launched together, or be one alone."""
    from accelerate.state import PartialState
    from torch import distributed

    if distributed.is_available():
        # As defaults its functions take the group that is there when they are defined, and keep it until Python ends:
        # nobody could leave (see leaving_at_the_end) if they were first imported later, by a model.
        importlib.import_module("torch.distributed.nn.functional")
    return PartialState(cpu=on_cpu, timeout=PATIENCE)


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
    """Leave the group of processes, if one was entered, however the block ends.

    gloo aborts a process that ends as a member of a group. One that has left can still be aborted, on a machine under
    load, where its network or trainer holds the group: gloo's threads then live on while Python ends, and one of them
    may have a tensor to give back. So what the functions called in the block have made is let go first, on an error
    too. (What PyTorch itself keeps of FSDP2's groups stays; by the end of the collection their threads have long had
    nothing in hand.)
    """
    try:
        yield
    except BaseException as error:
        if _in_a_group():
            _let_go(error)
        raise
    finally:
        if _in_a_group():
            from torch import distributed

            gc.collect()  # accelerate's and PyTorch's wrappers refer to themselves
            with contextlib.suppress(RuntimeError):  # what ended the block is what has to be said
                distributed.destroy_process_group()


def _in_a_group() -> bool:
    if "torch" not in sys.modules:
        return False
    from torch import distributed

    return distributed.is_available() and distributed.is_initialized()


def _let_go(error: BaseException) -> None:
    """Forget what functions had at hand that an error, or one behind it, went through; where it came about is kept."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        waiting += [one.__cause__, one.__context__]
