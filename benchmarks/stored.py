"""What the small trained models share: class conditions, stored weights, schedulers, and a pipeline that is drawn from.

Weights lie in ``weights/NAME.safetensors`` in half precision and are computed in float32; the facts of their training
lie in ``weights/NAME.json``.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler
from safetensors.torch import load_file

__all__ = ["WEIGHTS", "after_each_step", "chosen", "facts", "flow_scheduler", "load", "noise", "one_hot"]

WEIGHTS = Path(__file__).parent / "weights"


def facts(name: str) -> dict[str, Any]:
    """What ``train`` wrote down about a model: its configuration, seed, updates, seconds and losses."""
    return json.loads((WEIGHTS / f"{name}.json").read_text())


def load(name: str, network: type[torch.nn.Module], config: dict[str, Any]) -> torch.nn.Module:
    """The trained network in evaluation mode; the random numbers of its construction leave no trace."""
    with torch.random.fork_rng():
        model = network(**config)
    state = load_file(WEIGHTS / f"{name}.safetensors")
    model.load_state_dict({key: value.float() for key, value in state.items()})
    return model.eval().requires_grad_(requires_grad=False)


def one_hot(classes: Any, count: int) -> torch.Tensor:
    """Rows of ``count + 1`` numbers, one for each of ``classes`` (n,); the last class means "no class"."""
    return torch.nn.functional.one_hot(torch.as_tensor(classes, dtype=torch.int64), count + 1).float()


def noise(*shape: int, seed: int) -> torch.Tensor:
    """Standard normal numbers that depend on ``shape`` and ``seed`` only."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def chosen(scheduler: str, schedulers: dict[str, Callable[[], Any]]) -> Any:
    """A new scheduler of the kind that is asked for."""
    if scheduler not in schedulers:
        raise ValueError(f"`scheduler` is {scheduler!r}; write one of {sorted(schedulers)}.")
    return schedulers[scheduler]()


def flow_scheduler(scheduler: str, shift: float) -> Any:
    """A scheduler of flow matching: "euler", or "unipc" or "dpm++" (2M) of order 2."""
    second = {"solver_order": 2, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift}
    return chosen(
        scheduler,
        {
            "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=shift),
            "unipc": lambda: UniPCMultistepScheduler(**second),
            "dpm++": lambda: _dpm(shift, second),
        },
    )


def _dpm(shift: float, second: dict[str, Any]) -> Any:
    """DPM++ 2M with the shift as the constant that a pipeline makes of its number of tokens; FLUX gives no other."""
    scheduler = DPMSolverMultistepScheduler(**second, use_dynamic_shifting=True, time_shift_type="exponential")
    scheduler.register_to_config(base_shift=math.log(shift), max_shift=math.log(shift))
    return scheduler


def after_each_step(show: Callable[[torch.Tensor], None] | None) -> dict[str, Any]:
    """The arguments of a pipeline's call that show a copy of the sample after every step; none without ``show``."""
    if show is None:
        return {}

    def callback(_pipe: Any, _step: int, _time: Any, state: dict[str, Any]) -> dict[str, Any]:
        show(state["latents"].clone())
        return state

    return {"callback_on_step_end": callback}
