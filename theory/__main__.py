"""Check every statement, draw the figures, write the report: ``python -m spectral_forecast.theory``."""

import argparse
import importlib.util
import sys
import time
from pathlib import Path

from spectral_forecast.theory import run


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every statement holds, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m spectral_forecast.theory", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="cases of each statement (default: 10000)")
    parser.add_argument(
        "--out", type=Path, default=Path("out/theory"), help="folder of the report (default: out/theory)"
    )
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.examples < 1:
        parser.error(f"--examples is {chosen.examples}; write 1 or more")
    missing = [name for name in ("matplotlib", "tqdm") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"the report needs {' and '.join(missing)}; install spectral-forecast[theory]")
    from tqdm import tqdm

    from spectral_forecast.theory import report

    start = time.perf_counter()
    with tqdm(total=chosen.examples * (len(run.STATEMENTS) + 1), unit="case", unit_scale=True, disable=None) as bar:
        findings = run.measure(chosen.examples, chosen.seed, advance=bar.update)
    print(run.table(findings))
    for verdict in findings.verdicts:
        print(f"{'holds' if verdict.holds else 'FAILS'}  {verdict.statement.name} ({verdict.seconds:.1f} s)")
    page = report.write(findings, chosen.out)
    print(f"report: {page} ({time.perf_counter() - start:.0f} s in all)")
    return 0 if all(verdict.holds for verdict in findings.verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
