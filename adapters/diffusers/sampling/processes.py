"""Which part of the work is this process's?"""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

__all__ = ["Share", "my_share"]


@dataclass(frozen=True)
class Share:
    """One of several processes that a launcher has started.

    Attributes
    ----------
    index, count : int
        Which process this is, of how many.
    local : int
        Which it is on its machine: the number of its device.
    wait : callable
        Returns when every process has called it.
    gather : callable or None
        Maps each process's list to that of all of them, one process's after the other; None where they cannot tell
        each other anything.
    """

    index: int = 0
    count: int = 1
    local: int = 0
    wait: Callable[[], None] = lambda: None
    gather: Callable[[list[Any]], list[Any]] | None = list


def my_share(*, cpu: bool) -> Share:
    """Return this process's share, from accelerate if it is installed, else from the launcher's variables.

    Launchers stop every process as soon as one has failed, so a process waits for the others before it reports that a
    prompt of its own has failed; this takes accelerate.
    """
    index, count, local = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
    if count == 1:
        return Share()
    if not 0 <= index < count:
        raise ValueError(f"`RANK` is {index} of `WORLD_SIZE` {count}; start the processes with `accelerate launch`.")
    if "MASTER_ADDR" not in os.environ or importlib.util.find_spec("accelerate") is None:
        return Share(index, count, local, gather=None)
    from accelerate import PartialState
    from accelerate.utils import gather_object

    # One process may be done hours before another.
    state = PartialState(cpu=cpu, timeout=timedelta(days=30))

    def wait() -> None:
        state.wait_for_everyone()
        state.destroy_process_group()

    return Share(state.process_index, state.num_processes, state.local_process_index, wait, gather_object)


_VARIABLES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
