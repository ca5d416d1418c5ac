"""What every PyTorch adapter shares: following a network's calls through a run, and forecasting some of them.

An adapter brings a `Place`, where features are taken from an evaluation and put back into a result, and tells a
`Session` of every call. The session does the rest and keeps the report.
"""

from spectral_forecast.adapters._session.clock import Clock, Moment
from spectral_forecast.adapters._session.memory import Memory
from spectral_forecast.adapters._session.place import (
    Evaluation,
    Form,
    Outputs,
    Place,
    Resumable,
    UnfitError,
    agree,
    alike,
    copies,
    finite,
    magnitude,
)
from spectral_forecast.adapters._session.report import Report
from spectral_forecast.adapters._session.retake import LIMIT, Frame, Mend, Retake, Steps, Take, relative
from spectral_forecast.adapters._session.session import Session
from spectral_forecast.adapters._session.settings import Choice, Settings, even
from spectral_forecast.adapters._session.stream import Stream

__all__ = [
    "LIMIT",
    "Choice",
    "Clock",
    "Evaluation",
    "Form",
    "Frame",
    "Memory",
    "Mend",
    "Moment",
    "Outputs",
    "Place",
    "Report",
    "Resumable",
    "Retake",
    "Session",
    "Settings",
    "Steps",
    "Stream",
    "Take",
    "UnfitError",
    "agree",
    "alike",
    "copies",
    "even",
    "finite",
    "magnitude",
    "relative",
]
