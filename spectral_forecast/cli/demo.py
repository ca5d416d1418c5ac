"""Sample digits with a small trained transformer, full and accelerated."""

import argparse
from pathlib import Path

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "sample digits with a small trained transformer, full and accelerated"
EXTRA = "demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--backend", default="torch", choices=["torch", "jax"], help="what samples (default torch)")
    parser.add_argument("--out", type=Path, help="folder for pictures and report (default out/demo or out/demo_jax)")
    parser.add_argument("--guidance", type=float, default=2.0, help="classifier-free guidance (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of the starting noise (default 0)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each method, for the times (default 3)")


def run(options: argparse.Namespace) -> int:
    """Write pictures and report, and print the table."""
    if options.backend == "jax":
        from spectral_forecast.benchmarks import demo_jax as demo
    else:
        from spectral_forecast.benchmarks import demo
    out = options.out or Path("out/demo_jax" if options.backend == "jax" else "out/demo")
    print(demo.run(out, guidance=options.guidance, seed=options.seed, repeats=options.repeats))
    return 0
