"""Which networks and schedulers of diffusers are known to work? As data, read without diffusers."""

import json
from pathlib import Path
from typing import Any

__all__ = ["KNOWN", "read"]

KNOWN = Path(__file__).parent / "results" / "supported.json"
"""Written by ``python -m spectral_forecast.benchmarks.supported``."""


def read() -> dict[str, Any]:
    """Return what was measured: ``diffusers``, its version, and records of ``networks`` and ``schedulers``."""
    content: dict[str, Any] = json.loads(KNOWN.read_text(encoding="utf-8"))
    return content
