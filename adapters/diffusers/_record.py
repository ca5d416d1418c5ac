"""What do the features of whole runs look like to one another? Recorded while a pipeline runs as it always does."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast import Plan, Profile, Reuse, make_plan
from spectral_forecast.adapters._session import Moment, Session, Stream
from spectral_forecast.adapters.diffusers._profiled import differences
from spectral_forecast.gram import append, row

__all__ = ["Recorded", "Recorder", "Recording", "merged"]


class Recorded(NamedTuple):
    """One whole run: the Gram matrix of its features, (T, T), and what it was made with."""

    gram: NDArray[np.float64]
    settings: dict[str, str]


class Rows(Stream):
    """Keeps every feature of a branch until the run is whole, and their inner products."""

    def __init__(self, plan: Plan, begin: int, reduce: Callable[[Any], Any] | None) -> None:
        super().__init__(plan, begin)
        self.gram = np.zeros((0, 0))
        self.reduce = reduce

    @property
    def whole(self) -> bool:
        """Whether it holds all steps of a run."""
        return self.begin == 0 and len(self.gram) == self.plan.steps

    def ready(self, step: int) -> bool:
        """Whether every step before is kept."""
        return step - self.begin == len(self.gram)

    def keep(self, step: int, feature: list[torch.Tensor], largest: float) -> None:
        """Keep a copy of the tensors of a step, since pipelines change them in place; let all go after the last."""
        del step, largest
        self.runs = self.runs or [[] for _ in feature]
        kept = [x.detach().clone() for x in feature]
        rows = [row(before, x, reduce=self.reduce) for before, x in zip(self.runs, kept, strict=True)]
        self.gram = append(self.gram, np.sum(rows, axis=0))
        for before, x in zip(self.runs, kept, strict=True):
            before.append(x)
        if self.whole:
            for before in self.runs:
                before.clear()

    def fits(self, feature: list[torch.Tensor]) -> bool:
        """Whether a feature has the form of those kept before."""
        pairs = zip(self.runs, feature, strict=False)
        alike = all((x.shape, x.dtype, x.device) == (y[-1].shape, y[-1].dtype, y[-1].device) for y, x in pairs if y)
        return alike and len(self.runs) in (0, len(feature))

    @property
    def nbytes(self) -> int:
        """Bytes that the kept features take."""
        return sum(x.nbytes for before in self.runs for x in before)


class Recording(Session):
    """Evaluates every step, and makes a `Recorded` of every run in which nothing was odd.

    Parameters
    ----------
    session : Session
        Of an accelerated network; this one takes its place.
    describe : callable
        Says what a run of so many steps is made with.
    reduce : callable, optional
        As for `gram.row`.
    """

    def __init__(
        self, session: Session, describe: Callable[[int], dict[str, str]], reduce: Callable[[Any], Any] | None
    ) -> None:
        same = {"magnitude": session.magnitude, "used": session.clock.used}
        super().__init__(session.name, session.settings, session.place, **same)
        self.describe = describe
        self.reduce = reduce
        self.rows: dict[str, list[Rows]] = {}
        self.made_with: dict[str, str] = {}
        self.recorded: list[Recorded] = []
        self.left_out: list[str] = []

    def reset(self) -> None:
        """Let go of all features."""
        self.collect()
        super().reset()

    def collect(self) -> None:
        """End the run: keep its matrix if it is whole."""
        branches, self.rows = self.rows, {}
        whole = [branch[0] for branch in branches.values() if branch[0].whole]
        # A branch that comes later or goes earlier (guidance of some steps only) is left out; one that began anew
        # spoils the run.
        anew = any(len(branch) > 1 for branch in branches.values())
        if whole and not anew:
            gram = np.mean([branch.gram for branch in whole], axis=0)
            self.recorded.append(Recorded(gram, self.made_with | {"at": self.place.at}))
        elif branches:
            ended = f"it ended after {max(len(branch[-1].gram) for branch in branches.values())} steps"
            self.left_out.append(f"run {self.report.runs}: {self.report.events[0] if self.report.events else ended}")

    def _begin(self, moment: Moment) -> None:
        self.collect()
        super()._begin(moment)

    def _plan(self, moment: Moment, steps: int | None) -> Plan | None:
        if not steps:
            self.left_out.append(f"run {self.report.runs}: its number of steps is not known")
            return None
        self.made_with = self.describe(steps)
        return make_plan(Reuse(), np.arange(steps), np.ones(steps, dtype=bool), span=(0.0, float(steps)))

    def _open(self, moment: Moment, stream: Stream) -> Stream:
        rows = Rows(stream.plan, stream.begin, self.reduce)
        self.rows.setdefault(moment.stream, []).append(rows)
        return super()._open(moment, rows)


class Recorder:
    """Holds the runs that a pipeline has made since `record`; see there.

    Attributes
    ----------
    runs : list of Recorded
        The whole ones.
    left_out : list of str
        For every other run, why it is not among them.
    """

    def __init__(self, session: Recording) -> None:
        self.runs = session.recorded
        self.left_out = session.left_out
        self._session: Recording | None = session

    def collect(self) -> None:
        """End the run, as the pipeline's own end does and the beginning of the next."""
        if self._session is not None:
            self._session.reset()

    def end(self) -> None:
        """Let go of the network, and of all features."""
        self.collect()
        self._session = None

    def profile(self, *, ridge: float = 1e-4, **notes: object) -> Profile:
        """Return the profile of the runs so far; a run that is not over is left out.

        Parameters
        ----------
        ridge : float
            As for `Profile`.
        notes
            Further settings, for people: ``guidance=3.5``. They are not compared with a run.

        Raises
        ------
        ValueError
            If no run is whole, or if the runs differ in their steps, their noise levels or anything else.
        """
        self.collect()
        if not self.runs:
            why = "; ".join(self.left_out) or "none was made"
            raise ValueError(f"no whole run was recorded: {why}. Call the pipeline within `with record(pipe)`.")
        return merged(self.runs, ridge=ridge, **notes)


def merged(runs: list[Recorded], *, ridge: float = 1e-4, **notes: object) -> Profile:
    """Return the profile of recorded runs, which must be made with the same settings."""
    _, settings = runs[0]
    for _, other in runs[1:]:
        if wrong := differences(settings, other):
            raise ValueError(f"the recorded runs differ: {wrong}. Record those of one kind for a profile.")
    steps = int(settings["steps"])
    told: dict[str, object] = {name: text for name, text in settings.items() if name != "steps"}
    told |= notes
    grams = [gram for gram, _ in runs]
    clock = np.arange(steps, dtype=np.float64)  # with the span, the clock of `accelerate(evaluations=)`
    return Profile.from_runs(grams=grams, times=clock, span=(0.0, float(steps)), ridge=ridge, **told)
