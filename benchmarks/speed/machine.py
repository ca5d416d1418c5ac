"""On what was it measured? The facts that a later reader needs to judge the numbers."""

import ctypes
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["describe", "keep_memory", "large_pages", "load"]

TRIM, MAPS = -1, -4  # glibc's names for what is set: M_TRIM_THRESHOLD and M_MMAP_MAX
PAGES = "THP_MEM_ALLOC_ENABLE"  # PyTorch's

PACKAGES = ("torch", "diffusers", "cache-dit", "numpy", "scipy")


def describe(device: torch.device) -> dict[str, Any]:
    """Return the device, its cores and threads, and the versions of what was measured."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
        if torch.cpu.get_capabilities().get("amx_bf16"):  # matrices in bfloat16, some times as fast
            name += " and AMX"
    return {
        "device": device.type,
        "name": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def load() -> list[float]:
    """Return how many processes wanted a core in the last 1, 5 and 15 minutes; this one is among them."""
    return [round(value, 2) for value in os.getloadavg()]


def keep_memory() -> None:
    """Have the C library keep memory that is freed, for the rest of this process, where it is glibc."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MAPS, 0)
        library.mallopt(TRIM, -1)  # never


@contextmanager
def large_pages() -> Iterator[None]:
    """Have PyTorch ask for large pages of memory in processes that are begun meanwhile."""
    before = os.environ.get(PAGES)
    os.environ[PAGES] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PAGES]
        else:
            os.environ[PAGES] = before
