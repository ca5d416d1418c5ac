"""Plan, bound, sample, measure: forecast the features of a diffusion model instead of evaluating its network."""

import argparse
import os
import sys
from collections.abc import Sequence

from spectral_forecast import __version__
from spectral_forecast.cli import bench, bounds, calibrate, compare, completion, demo, models, plan, profile, sample
from spectral_forecast.cli.parser import Parser

__all__ = ["main", "parser"]

_COMMANDS = {
    "demo": demo,
    "plan": plan,
    "bounds": bounds,
    "models": models,
    "sample": sample,
    "compare": compare,
    "profile": profile,
    "calibrate": calibrate,
    "bench": bench,
    "completion": completion,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    whole = Parser(prog="spectral-forecast", description=__doc__)
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run, whole=whole, own=command)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    The exit status is 2 where the arguments make no sense, 1 where a package is missing or a prompt has failed, and
    130 after an interrupt.
    """
    options, rest = parser().parse_known_args(arguments)
    options.rest = rest
    if rest and not getattr(_COMMANDS[options.command], "PASSES_ON", False):
        options.own.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return int(options.run(options))
    except (ValueError, TypeError) as error:
        print(f"spectral-forecast {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"spectral-forecast {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that is missing or may not be written
        print(f"spectral-forecast {options.command}: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        extra = "plot" if error.name == "matplotlib" else _COMMANDS[options.command].EXTRA
        print(
            f"spectral-forecast {options.command}: {error.name} is not installed; "
            f"write `pip install 'spectral-forecast[{extra}]'`.",
            file=sys.stderr,
        )
        return 1
