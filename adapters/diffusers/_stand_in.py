"""What stands in for a scheduler's method, as an attribute of that scheduler, and is gone in its copies?"""

import inspect
import types
from collections.abc import Callable
from typing import Any

__all__ = ["StandIn"]


class StandIn:
    """In the place of ``scheduler.NAME``, with its signature; in a copy of the scheduler its own method is back."""

    name: str

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    @property
    def __signature__(self) -> inspect.Signature:  # pipelines ask which arguments it takes
        return inspect.signature(self._original)

    @property
    def _original(self) -> Callable[..., Any]:
        return types.MethodType(getattr(type(self.scheduler), self.name), self.scheduler)

    def __reduce__(self) -> Any:
        return getattr, (self.scheduler, self.name)  # of the copy, which has no attributes yet but its class's
