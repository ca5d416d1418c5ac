"""The command line: plans, a demo, profiles and pictures of any pipeline, and how far they are from the full run's."""

import argparse
import os
import sys
from collections.abc import Sequence

from spectral_forecast.cli import compare, demo, plan, profile, sample

__all__ = ["main"]

_COMMANDS = {"plan": plan, "demo": demo, "profile": profile, "sample": sample, "compare": compare}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    The exit status is 2 where the arguments make no sense, 1 where a package is missing or a prompt has failed, and
    130 after an interrupt.
    """
    parser = argparse.ArgumentParser(prog="spectral-forecast", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
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
    except ModuleNotFoundError as error:
        extra = "plot" if error.name == "matplotlib" else _COMMANDS[options.command].EXTRA
        print(
            f"spectral-forecast {options.command}: {error.name} is not installed; "
            f"write `pip install 'spectral-forecast[{extra}]'`.",
            file=sys.stderr,
        )
        return 1
