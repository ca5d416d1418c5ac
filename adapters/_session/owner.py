"""Whose run is in progress? One thread's at a time; what others ask for meanwhile is none of the run's business."""

import threading
from typing import Any

__all__ = ["Owner"]


class Owner:
    """The thread whose run is in progress, if there is one.

    Attributes
    ----------
    lock : lock
        Held while the owner changes, and by who must not be interrupted by that.
    timesteps : object
        The scheduler's own tensor of the run; `is` tells one run's from the next.
    others : int
        Calls from other threads during the run.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.timesteps: Any = None
        self.others = 0
        self._thread: threading.Thread | None = None

    def claim(self, timesteps: Any) -> bool:
        """Make this thread's the run in progress; False, and counted, if another's is."""
        with self.lock:
            if self.busy(timesteps):
                self.others += 1
                return False
            self._thread, self.timesteps = threading.current_thread(), timesteps
            return True

    def busy(self, timesteps: Any) -> bool:
        """Whether a run is in progress in another thread; when its scheduler gets new timesteps, it has ended."""
        if self._thread in (None, threading.current_thread()) or not self._thread.is_alive():
            return False
        return timesteps is self.timesteps

    def release(self) -> None:
        """End the run."""
        self._thread = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle holds: everything but the thread that is in here."""
        return {"timesteps": self.timesteps, "others": self.others}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` returned."""
        vars(self).update(state, lock=threading.RLock(), _thread=None)
