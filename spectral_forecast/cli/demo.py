"""Sample digits with a small trained transformer, full and accelerated."""

import argparse
import json
from pathlib import Path

from spectral_forecast.cli.output import Output, add_json

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "sample digits with a small trained transformer, full and accelerated"
EXTRA = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--backend", default="torch", choices=["torch", "jax"], metavar="NAME", help="torch (default) or jax"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for pictures and report (default out/demo or out/demo_jax)"
    )
    parser.add_argument("--guidance", type=float, default=2.0, metavar="X", help="classifier-free guidance (default 2)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the starting noise (default 0)")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="runs of each method, for the times (default 3)"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Write pictures and report, and print the table."""
    if options.backend == "jax":
        from spectral_forecast.benchmarks import demo_jax as demo
    else:
        from spectral_forecast.benchmarks import demo
    out = options.out or Path("out/demo_jax" if options.backend == "jax" else "out/demo")
    output = Output(options)
    output.say(demo.run(out, guidance=options.guidance, seed=options.seed, repeats=options.repeats))
    output.emit(json.loads((out / "report.json").read_text(encoding="utf-8")))
    return 0
