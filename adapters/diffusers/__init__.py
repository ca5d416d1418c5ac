"""Forecasting for diffusers: one line for a pipeline or a transformer, and one that takes it back.

>>> from spectral_forecast.adapters.diffusers import accelerate, report, restore
>>> pipe = accelerate(pipe, evaluations=14)  # doctest: +SKIP
>>> image = pipe("a cat", num_inference_steps=50).images[0]  # doctest: +SKIP
>>> print(report(pipe))  # doctest: +SKIP
>>> restore(pipe)  # doctest: +SKIP
"""

import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from diffusers import CacheMixin, DiffusionPipeline
from diffusers.utils.torch_utils import unwrap_module  # gives what `torch.compile` has wrapped

from spectral_forecast import Corrector, LinearForecaster, Plan
from spectral_forecast.adapters._session import Memory, Report, Settings
from spectral_forecast.adapters._session.ranks import sum_over
from spectral_forecast.adapters.diffusers._attach import attach, attached, detach
from spectral_forecast.adapters.diffusers._calibrate import Trial, learnt, trial
from spectral_forecast.adapters.diffusers._correct import Correction
from spectral_forecast.adapters.diffusers._grid import Grid
from spectral_forecast.adapters.diffusers._hook import RootHook
from spectral_forecast.adapters.diffusers._profiled import check, of_network, of_run, of_scheduler, profile_in
from spectral_forecast.adapters.diffusers._record import Recorder, Recording
from spectral_forecast.adapters.diffusers._schedulers import Limits, Schedule, limits
from spectral_forecast.adapters.diffusers._split import BlockHook, Split, block_lists
from spectral_forecast.tolerance import Calibration

__all__ = [
    "Calibration",
    "Limits",
    "Recorder",
    "Report",
    "accelerate",
    "calibrate",
    "limits",
    "record",
    "report",
    "restore",
]

_TIME_NAMES = ("timestep", "timesteps", "t", "timestep_ratio")
_Model = TypeVar("_Model", bound="DiffusionPipeline | torch.nn.Module")


def accelerate(
    model: _Model,
    plan: Plan | None = None,
    *,
    evaluations: int | None = None,
    tolerance: float | str | None = None,
    calibration: Calibration | None = None,
    forecaster: LinearForecaster | None = None,
    schedule: Schedule | None = None,
    corrector: Corrector | None = Corrector(),  # noqa: B008 it is frozen
    at: Literal["output", "features"] = "output",
    scheduler: Any = None,
    grid: int | None = None,
    max_bytes: int | None = None,
    dtype: torch.dtype | None = None,
    offload: bool = False,
) -> _Model:
    """Let a pipeline's network run at some steps only, and forecast the others.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        A pipeline with a ``transformer`` or a ``unet``, or such a network itself. Two transformers that take turns
        (Wan 2.2) are both accelerated: the steps are shared out, and each begins with features of its own.
    plan : Plan, optional
        What `make_plan` returned, for runs of exactly its number of steps. In longer or shorter runs nothing is
        forecast, and the report says so.
    evaluations : int, optional
        Instead of a plan: how many steps of a run to evaluate. The length of the run is the scheduler's. Where its
        `limits` ask for more evaluations, there are more, and the report says so.
    tolerance : float or str, optional
        Instead of a number of evaluations: the relative error of the sample to keep to, such as 0.02, or "34 dB".
        Steps are chosen on the way, from the errors that the run's own evaluations show (`tolerance.Gate`); how well
        that is kept is measured in docs/tolerance.md. It goes with the default forecaster, one network and schedulers
        with noise levels.
    calibration : Calibration, optional
        What `calibrate` returned for this pipeline, as it is used: estimated errors and the tolerance are then in its
        terms.
    forecaster : LinearForecaster, optional
        The rule that goes with ``evaluations``, over step numbers, of what is kept and as it is. By default
        ``Newton(1)``, linear extrapolation, over the scheduler's noise levels, of outputs as velocities, and guarded by
        the errors that the run's own evaluations show (`GuardedRun`). A `Profile` that `record` has made of such runs
        chooses its own schedule, and forecasts nothing in runs of another kind.
    schedule : callable, optional
        Which steps: maps the number of steps and of evaluations to a mask, as `schedules.even` does. It goes with
        ``evaluations``. By default `schedules.balanced` over the scheduler's noise levels, or `schedules.even` within
        its `limits` where it has some, or no noise levels that fall from step to step.
    corrector : Corrector, optional
        How skipped steps are corrected on arrival at an evaluated one: they are taken again by the scheduler, with
        velocities that are interpolated instead of extrapolated, as far as these differ little (`corrector.guard`). It
        goes with ``evaluations`` and with schedulers whose `limits` allow it, and costs no evaluation. Where a network
        predicts noise, it goes with the default forecaster only, since others forecast the noise itself. A plan has its
        own, which is added as `Run.correct` adds it, at outputs and with Euler's method for flow matching; with other
        schedulers the report says that it is left out. None leaves either out.
    at : {"output", "features"}
        What is forecast. "output": the network's result; any network, little memory. "features": what the last
        block hands to the head; the blocks are skipped, and so are embedders that only blocks read. Where blocks are
        is found by watching the first evaluation, which is then resumed to see that the result is the same. A network
        that cannot be split says so, in a warning and in the report, and its outputs are forecast.
    scheduler : SchedulerMixin, optional
        The scheduler that drives a network given without its pipeline. Without one, give a plan; the steps are
        then told apart by their timesteps, and a run begins when time goes back.
    grid : int, optional
        Steps of every run that is asked for fewer, so that the result comes closer to the exact solution of the
        sampler's differential equation. It goes with ``evaluations``, which stay as many. The scheduler sets ``grid``
        steps in place of a number of steps, and interpolates lists of sigmas or timesteps. Runs asked for fewer than 8
        steps, schedulers that add noise or have two stages, and pipelines that begin in the middle of a number of steps
        (image to image) keep their own, and the report says so.
    max_bytes : int, optional
        Bytes that kept features may take on the network's device, all guidance branches together. Where they would take
        more, they are held by the host if the network is on another device; else fewer are held (not below two, and
        not of a plan); else outputs are kept in place of features; else nothing is forecast. The report says which.
    dtype : torch.dtype, optional
        Hold what is kept in this dtype. By default in its own. What ``torch.float8_e4m3fn`` costs is in docs/memory.md.
    offload : bool
        Hold what is kept in the host's memory, pinned, if the network is on another device. Forecasts are summed there,
        and sent.

    Returns
    -------
    The same object.

    Raises
    ------
    ValueError
        If not exactly one of ``plan``, ``evaluations`` and ``tolerance`` is given, if the network is accelerated
        already or one of diffusers' own caches is on, if ``at`` is "features" and the network has no lists of blocks or
        the plan has a corrector, or if a profile was made with another network or scheduler.

    Notes
    -----
    Whenever something about a step is unexpected (another shape or dtype, steps left out, a result that is not
    finite), the network is evaluated, the features kept so far are dropped and the report says so. In runs of fewer
    than 8 steps, and with schedulers whose `limits` allow no forecasts, ``evaluations`` forecasts nothing and a
    warning says why; a plan is followed all the same.
    """
    networks, clock = _networks(model, scheduler)
    if at not in ("output", "features"):
        raise ValueError(f'`at` is {at!r}; write "output" or "features".')
    given = plan
    if isinstance(plan, Plan) and plan.correction.any():
        if at == "features" and corrector is not None:
            raise ValueError(
                '`plan` has a corrector, which acts on outputs; write `at="output"`, or leave it out: `corrector=None`.'
            )
        # It is the scheduler's steps that are corrected, from guided outputs.
        plan = plan._replace(correction=np.zeros_like(plan.correction))
    if calibration is not None and not isinstance(calibration, Calibration):
        raise TypeError(f"`calibration` is {type(calibration).__name__}; write what `calibrate` returned.")
    shared, memory = len(networks) > 1, Memory(max_bytes, dtype, offload)
    asked = {"shared": shared, "corrector": corrector, "tolerance": tolerance, "memory": memory}
    settings = replace(Settings.of(plan, evaluations, forecaster, **asked), calibration=calibration)
    correction = Correction(corrector, given, guards=settings.default)
    if schedule is not None and (evaluations is None or not callable(schedule)):
        raise ValueError("`schedule` goes with `evaluations`: write a callable, for instance `schedules.even`.")
    if grid is not None and plan is not None:
        raise ValueError("`grid` goes with `evaluations`; a plan has its number of steps, which runs are asked for.")
    if settings.plan is None and clock is None:
        raise ValueError("`evaluations` needs the length of a run; write `scheduler=`, or give a plan.")
    for network in networks.values():
        _check(network, at)
    check(profile_in(settings.forecaster), networks, clock and clock(), at)
    finer = Grid(grid)
    for network in networks.values():
        parameters = inspect.signature(network.forward).parameters
        root = RootHook(
            network,
            settings,
            time_name=next(name for name in _TIME_NAMES if name in parameters),
            scheduler=(lambda: None) if clock is None else clock,
            split=_split(network) if at == "features" else None,
            correction=correction,
            grid=finer,
            schedule=schedule,
        )
        attach(network, root)
        network._diffusers_hook.invalidate_child_registries_cache()
        if isinstance(network, CacheMixin):
            network._cache_config = settings  # so that `enable_cache` refuses
    if clock is not None:
        correction.attach(clock())
    if settings.plan is None:
        finer.attach(clock())
    return model


@contextmanager
def record(
    model: DiffusionPipeline | torch.nn.Module, *, at: Literal["output", "features"] = "output", scheduler: Any = None
) -> Iterator[Recorder]:
    """Record the runs that a pipeline makes meanwhile, for a profile; every step is evaluated, as without it.

    >>> with record(pipe) as recorder:  # doctest: +SKIP
    ...     for prompt in prompts:
    ...         pipe(prompt, num_inference_steps=50)
    >>> accelerate(pipe, evaluations=14, forecaster=recorder.profile())  # doctest: +SKIP

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        As for `accelerate`, with one network, not accelerated.
    at, scheduler
        As for `accelerate`: the profile serves what is recorded.

    Yields
    ------
    Recorder
        Its ``profile()`` is of all whole runs so far, and may be called when the recording is over.

    Raises
    ------
    ValueError
        As `accelerate`, or if the pipeline has two networks that take turns.

    Notes
    -----
    Of a run with T steps the T x T inner products of its features remain: the sum over a batch and over a network's
    several outputs, the mean over guidance branches. The features are kept, in their own dtype, until a branch is
    through with its last step. Where anything is odd, a run is left out, and ``recorder.left_out`` says why.
    """
    networks, clock = _networks(model, scheduler)
    if len(networks) > 1:
        raise ValueError("`model`: a pipeline with two networks that take turns cannot be recorded.")
    if clock is None:
        raise ValueError(
            "`scheduler` is needed to record a network without its pipeline; write the one that drives it."
        )
    (network,) = networks.values()
    accelerate(model, evaluations=1, corrector=None, at=at, scheduler=scheduler)
    hook, traits = attached(network), of_network(network, at)

    def describe(steps: int) -> dict[str, str]:
        return traits | of_scheduler(clock()) | of_run(clock(), steps)

    hook.session = Recording(hook.session, describe, sum_over(network))
    recorder = Recorder(hook.session)
    try:
        yield recorder
    finally:
        recorder.end()
        _take_back(network)


def calibrate(
    model: DiffusionPipeline | torch.nn.Module,
    run: Callable[[], Any],
    *,
    tolerances: Sequence[float | str] = (0.3, 0.1, 0.03, 0.01),
    **options: Any,
) -> Calibration:
    """Learn what estimated errors and tolerances are worth in a pipeline, from one full run and some that are not.

    >>> def run():  # doctest: +SKIP
    ...     generator = torch.Generator().manual_seed(0)
    ...     return pipe(prompts, num_inference_steps=50, generator=generator, output_type="latent").images
    >>> calibration = calibrate(pipe, run)  # doctest: +SKIP
    >>> accelerate(pipe, tolerance=0.03, calibration=calibration)  # doctest: +SKIP

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        As for `accelerate`, not accelerated.
    run : callable
        Makes a run of the pipeline as it is used, from the same noise whenever it is called, and returns its samples: a
        tensor or an array, the first axis the batch's, or a list of pictures. Some ten samples and more tell what a few
        do not: errors of single samples vary much.
    tolerances : sequence of float or str
        What is asked for, a run each.
    **options
        As for `accelerate` with a ``tolerance``.

    Returns
    -------
    Calibration
        For this network, scheduler, number of steps and guidance.

    Raises
    ------
    ValueError
        If nothing was forecast in any run, or if samples are not alike; and as `accelerate`.
    """
    if not callable(run):
        raise TypeError(f"`run` is {type(run).__name__}; write a callable that makes a run and returns its samples.")

    def made(tolerance: float | str) -> Trial:
        accelerate(model, tolerance=tolerance, **options)
        try:
            return trial(tolerance, run(), full, report(model))
        finally:
            restore(model)

    for network in _networks(model, options.get("scheduler"))[0].values():
        _check(network, options.get("at", "output"))
    full = run()
    return learnt([made(tolerance) for tolerance in tolerances])


def restore(model: _Model) -> _Model:
    """Take everything back that `accelerate` did; the network is as it was, and its features are let go.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        What `accelerate` was given. Without acceleration nothing happens.

    Returns
    -------
    The same object.
    """
    networks, _ = _networks(model, None)
    for network in networks.values():
        _take_back(network)
    return model


def report(model: DiffusionPipeline | torch.nn.Module) -> Report:
    """Return what an accelerated model did in its newest run.

    Parameters
    ----------
    model : DiffusionPipeline or torch.nn.Module
        What `accelerate` was given.

    Returns
    -------
    Report
        A copy, which later runs do not change. Before the first run it counts nothing.
    """
    networks, _ = _networks(model, None)
    hooks = {name: attached(network) for name, network in networks.items()}
    if None in hooks.values():
        names = ", ".join(type(network).__name__ for network in networks.values())
        raise ValueError(f"`model`: this {names} is not accelerated; call `accelerate` first.")
    reports = {name: hook.session.told() for name, hook in hooks.items()}
    return next(iter(reports.values())) if len(reports) == 1 else Report.joined(reports)


def _networks(model: Any, scheduler: Any) -> tuple[dict[str, torch.nn.Module], Any]:
    """Return the networks of a pipeline by name, and a callable that gives its scheduler (or None)."""
    if isinstance(model, DiffusionPipeline):
        found = {name: getattr(model, name, None) for name in ("transformer", "transformer_2", "unet")}
        networks = {name: unwrap_module(network) for name, network in found.items() if network is not None}
        if not networks:
            raise ValueError(f"`model`: {type(model).__name__} has no `transformer` and no `unet`; give the network.")
        # Weak, so that the network does not keep its pipeline alive; the pipeline's scheduler may be exchanged.
        owner = weakref.ref(model)
        return networks, lambda: getattr(owner(), "scheduler", None)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"`model` is {type(model).__name__}; write a diffusers pipeline or its transformer.")
    return {"network": unwrap_module(model)}, None if scheduler is None else lambda: scheduler


def _check(network: torch.nn.Module, at: str) -> None:
    """Refuse a network that cannot be accelerated, before anything is hooked."""
    name = type(network).__name__
    if attached(network) is not None:
        raise ValueError(f"`model`: this {name} is accelerated already; call `restore` first.")
    if getattr(network, "is_cache_enabled", False):
        raise ValueError("`model` has one of diffusers' caches enabled; call its `disable_cache()` first.")
    if not set(_TIME_NAMES) & set(inspect.signature(network.forward).parameters):
        names = ", ".join(_TIME_NAMES)
        raise ValueError(f"`model`: {name}.forward takes none of {names}; use `plan.start()` in your own loop.")
    if at == "features" and not block_lists(network):
        raise ValueError(f'`at`: {name} has no list of blocks to skip; write `at="output"`.')


def _split(network: torch.nn.Module) -> Split:
    """Put a hook on every block in the network's own lists of modules."""
    whole = sum(parameter.numel() for parameter in network.parameters())
    shares = [sum(parameter.numel() for parameter in blocks.parameters()) / whole for blocks in block_lists(network)]
    split = Split(weakref.ref(network), shares)
    for group, blocks in enumerate(block_lists(network)):
        for block in blocks:
            attach(block, BlockHook(split, group))
    return split


def _take_back(network: torch.nn.Module) -> None:
    if (hook := attached(network)) is not None:
        hook.correction.detach()
        hook.grid.detach()
    for module in network.modules():
        detach(module)
    if isinstance(vars(network).get("_cache_config"), Settings):
        del network._cache_config
