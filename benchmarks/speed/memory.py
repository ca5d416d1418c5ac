"""How much memory did a run take at the most? PyTorch's own count on a GPU, the process's pages on a CPU."""

import threading
from types import TracebackType

import psutil
import torch

__all__ = ["Peak"]


class Peak:
    """The most bytes beyond those at its beginning, while a context lasts.

    On a CPU the resident pages are looked at every two milliseconds, so that short peaks are missed and what an
    allocator keeps for later is counted; it is good to some megabytes.

    >>> with Peak(torch.device("cpu")) as peak:
    ...     pass
    >>> peak.bytes >= 0
    True
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> "Peak":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._begin = torch.cuda.memory_allocated(self.device)
            return self
        self._begin = psutil.Process().memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.002):
            self.bytes = max(self.bytes, process.memory_info().rss - self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._begin
        else:
            self._over.set()
            self._thread.join()
