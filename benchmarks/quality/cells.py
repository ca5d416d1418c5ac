"""What is measured, and how? Cells, their full runs, and the numbers of every method in them."""

import functools
import hashlib
import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import spectral_forecast as sf
from spectral_forecast.benchmarks import stored
from spectral_forecast.benchmarks.quality import sampling
from spectral_forecast.benchmarks.quality.fields import MODELS, Field, FlowField, Grid, Known, grid
from spectral_forecast.benchmarks.quality.methods import METHODS, Method

__all__ = ["CELLS", "FINE", "SAMPLES", "Bench", "Cell", "fingerprint", "measure", "psnr"]

SAMPLES = 6
FINE = 8  # times the steps, for the run that stands for the solution of the differential equation
MARKS = 5  # how often the error is looked at on the way
MOST = 100.0  # dB, of pictures that are all but the same


@dataclass(frozen=True)
class Cell:
    """A model and how it is sampled; ``negative`` is "none" or "class": what guidance leads away from."""

    model: str
    shift: float
    guidance: float
    negative: str = "none"
    steps: int = 50
    seed: int = 0
    samples: int = SAMPLES

    @property
    def name(self) -> str:
        """The cell in words."""
        shift = f", shift {self.shift:g}" if MODELS[self.model].predicts == "flow" else ""
        away = "" if self.guidance == 1.0 else f" from {'another class' if self.negative == 'class' else 'no class'}"
        return f"{self.model}{shift}, guidance {self.guidance:g}{away}, {self.steps} steps"

    def budgets(self, method: Method) -> tuple[int, ...]:
        """How many evaluations a method is measured with."""
        if self.steps < 50:
            return (5, 7, 10) if method.everywhere else (7,)
        return (6, 8, 10, 12, 14, 20) if method.everywhere else (8, 14)


CELLS = (
    Cell("digits", 3.0, 1.0),
    Cell("digits", 3.0, 4.0, "class"),
    Cell("digits", 3.0, 8.0, "class"),
    Cell("digits", 1.0, 4.0),
    Cell("digits", 5.0, 8.0),
    Cell("digits", 3.0, 4.0, "class", steps=24),
    Cell("photographs", 3.0, 1.0),
    Cell("photographs", 3.0, 4.0, "class"),
    Cell("photographs", 1.0, 8.0),
    Cell("photographs", 5.0, 8.0, "class"),
    Cell("moving_digits", 5.0, 1.0),
    Cell("moving_digits", 5.0, 4.0, "class"),
    Cell("moving_digits", 3.0, 8.0),
    Cell("moving_digits", 1.0, 4.0),
    Cell("digits_ddim", 1.0, 1.0),
    Cell("digits_ddim", 1.0, 4.0),
    Cell("digits_ddim", 1.0, 8.0, "class"),
    Cell("digits_ddim", 1.0, 4.0, steps=24),
    Cell("digits_unet", 1.0, 1.0),
    Cell("digits_unet", 1.0, 4.0, "class"),
    Cell("digits_unet", 1.0, 8.0),
)


class Bench:
    """A cell with its network, its noise and its two full runs; the fine one is kept in ``folder``."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.model, self.folder = cell, MODELS[cell.model], folder
        self.network = self.model.network()
        self.classes = np.arange(cell.samples) % self.model.module.CLASSES
        self.grid = grid(self.model, cell.steps, cell.shift)
        self.known: dict[tuple[Any, ...], Known] = {}
        self.full = sampling.full(self.field(), self.grid, self.noise(), keep=True)

    @functools.cached_property
    def fine(self) -> torch.Tensor:
        """What the fine run ends with."""
        path = self.folder / f"{fingerprint(self.cell)}.npy"
        if not path.exists():
            fine = sampling.full(self.field(anew=True), self.finer(FINE), self.noise())
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, fine.final.numpy())
        return torch.from_numpy(np.load(path))

    def noise(self, *, other: bool = False) -> torch.Tensor:
        """The noise that the cell starts from, or that of another run."""
        return self.model.module.noise(self.cell.samples, seed=100 + self.cell.seed + (1 if other else 0))

    def finer(self, factor: int) -> Grid:
        """The grid with ``factor`` times the steps."""
        return grid(self.model, factor * self.cell.steps, self.cell.shift)

    def field(self, *, anew: bool = False) -> Field:
        """The guided field, with no calls counted yet; ``anew`` if it is to compute what another one has computed."""
        count = self.model.module.CLASSES
        away = np.full_like(self.classes, count) if self.cell.negative == "none" else (self.classes + 5) % count
        known = None if anew else self.known
        return Field(self.model, self.network, self.classes, away, self.cell.guidance, known=known)

    def flow(self, steps: Grid, *, anew: bool = False) -> tuple[Field | FlowField, Grid]:
        """The guided velocity in flow time, with no calls counted yet, and the steps there."""
        field = self.field(anew=anew)
        return (field, steps) if self.model.predicts == "flow" else (FlowField(field), steps.flow())

    def profile(self) -> sf.Profile:
        """What one full run from other noise teaches."""
        run = sampling.full(self.field(), self.grid, self.noise(other=True), keep=True)
        return sf.Profile.from_runs([run.outputs], **self.grid.clock)

    def changes(self) -> NDArray[np.float64]:
        """Mean absolute change of the sample before every step of the full run, relative to its mean magnitude."""
        path = [self.noise(), *self.full.path[:-1]]
        moved = [float((b - a).abs().mean() / a.abs().mean()) for a, b in itertools.pairwise(path)]
        return np.array([0.0, *moved])

    def sample(self, method: Method, budget: int, profile: sf.Profile, changes: NDArray[np.float64]) -> sampling.Sample:
        """Sample by a method with so many evaluations."""
        on_features = method.place == "features" and self.model.splits
        velocity: Field | FlowField = self.field(anew=on_features)  # there the network itself must know of each step
        noise = self.noise()
        if method.rule == "euler":
            return sampling.full(velocity, grid(self.model, budget, self.cell.shift), noise)
        if method.solver:
            return sampling.solve(velocity, method.rule, budget, self.cell.shift, noise)
        steps = self.grid if method.fine == 1 else self.finer(method.fine)
        if method.velocity:
            velocity, steps = self.flow(steps, anew=on_features)
        mask = method.mask(steps, budget, changes, profile)
        run = method.run(steps, mask, profile)
        if on_features:
            return sampling.on_features(velocity, steps, noise, run.plan)
        # The first velocity of a model of noise tells nothing, but the guard would have it repeated.
        blind = self.grid.blind and method.velocity and method.limit is not None
        return sampling.forecast(velocity, steps, noise, run, method.corrector, blind=blind)

    def pictures(self, final: torch.Tensor) -> NDArray[np.float32]:
        """The clipped pictures (n, channels, height, width)."""
        return self.model.shape(final).clamp(-1.0, 1.0).numpy()

    def compare(self, sample: sampling.Sample) -> dict[str, Any]:
        """Return the numbers of a sample."""
        final = sample.final
        row = {
            "evaluations": sample.evaluations,
            "psnr": _spread(psnr(self.pictures(final), self.pictures(self.full.final))),
            "fine": _spread(psnr(self.pictures(final), self.pictures(self.fine))),
            "error": _spread(_relative(final, self.full.final)),
            "error_fine": _spread(_relative(final, self.fine)),
            "ssim": _spread(_ssim(self.pictures(final), self.pictures(self.full.final))),
            "accepted": self.accepted(final),
            "seconds": _round(sample.seconds),
        }
        if len(sample.path) == len(self.full.path):
            stride = len(sample.path) // MARKS
            pairs = list(zip(sample.path, self.full.path, strict=True))[stride - 1 :: stride]
            row["rmse"] = [_round(float((a - b).square().mean().sqrt())) for a, b in pairs]
        return row

    def accepted(self, final: torch.Tensor) -> float:
        """The share of samples that a classifier takes for what was asked for."""
        return _round(float((self.model.module.read(self.model.read(final)) == self.classes).mean()))


def measure(cell: Cell, folder: Path, methods: tuple[Method, ...] = METHODS, *, again: bool = False) -> dict[str, Any]:
    """Return the numbers of a cell; what ``folder`` holds is not computed again, unless asked for.

    Returns
    -------
    dict
        The cell, what its full runs are like, and a row for every method and budget.
    """
    torch.set_num_threads(1)
    path = folder / f"{fingerprint(cell)}.json"
    known = json.loads(path.read_text()) if path.exists() and not again else {}
    flow = MODELS[cell.model].predicts == "flow"
    wanted = [
        (method, budget) for method in methods if not (flow and method.velocity) for budget in cell.budgets(method)
    ]
    keys = {(method.name, budget): f"{method!r}, {budget}" for method, budget in wanted}
    if any(key not in known for key in keys.values()) or "cell" not in known:
        bench = Bench(cell, folder)
        known["cell"] = asdict(cell) | {"name": cell.name} | bench.compare(bench.full)
        profile, changes = bench.profile(), bench.changes()
        for method, budget in wanted:
            key = keys[method.name, budget]
            if key not in known:
                numbers = bench.compare(bench.sample(method, budget, profile, changes))
                known[key] = {"method": method.name, "budget": budget} | numbers
                path.write_text(json.dumps(known))
    return {"cell": known["cell"], "rows": [known[key] for key in keys.values()]}


def fingerprint(cell: Cell) -> str:
    """A name for a cell: of its model's weights, too, since training them again changes everything."""
    weights = (stored.WEIGHTS / f"{MODELS[cell.model].module.NAME}.safetensors").read_bytes()
    return hashlib.sha256(repr(cell).encode() + weights).hexdigest()[:16]


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _spread(values: NDArray[np.float64]) -> list[float]:
    """Mean and standard deviation over the samples."""
    return [_round(float(values.mean())), _round(float(values.std()))]


def psnr(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """PSNR in dB of every sample of clipped pictures, whose range is 2; at most `MOST`."""
    squares = ((a.astype(np.float64) - b) ** 2).reshape(len(a), -1).mean(axis=1)
    return 10.0 * np.log10(4.0 / np.maximum(squares, 4.0 * 10.0 ** (-MOST / 10.0)))


def _relative(a: torch.Tensor, b: torch.Tensor) -> NDArray[np.float64]:
    """2-norm of every sample's difference over that of the reference."""
    return ((a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).double().numpy()


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Structural similarity of every sample; of several frames or colours, the mean."""
    from skimage.metrics import structural_similarity

    return np.array([structural_similarity(x, y, channel_axis=0, data_range=2.0) for x, y in zip(a, b, strict=True)])
