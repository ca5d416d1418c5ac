"""Print what makes a shell complete this command line: subcommands, options and their choices.

bash: eval "$(spectral-forecast completion bash)"    zsh: the same with zsh    tcsh: the same with tcsh
"""

import argparse

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "print the completion of a shell"
EXTRA = "completion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", metavar="SHELL", choices=["bash", "zsh", "tcsh"], help="bash, zsh or tcsh")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    print(shtab.complete(options.whole, options.shell))
    return 0
