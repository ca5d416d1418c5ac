"""Which mutants of the numerics survive the tests unexplained? Run by ``make mutants``; takes hours.

mutmut changes one operator, number, word or argument at a time and runs the tests that reach the changed function.
What no test notices has to be explained in ``tests/data/mutants/<module>.json``: reasons, and under each the changes
it holds for, as this script prints them. Names of modules restrict the run: ``python tests/mutants.py plan ridge``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXPLAINED = ROOT / "tests" / "data" / "mutants"
ESCAPED = {"survived", "no tests", "suspicious", "segfault", "not checked"}
# Modules, and the tests that are theirs: the fewer there are, the faster.
TESTS = {
    "ridge": ["ridge"],
    "plan": ["plan"],
    "bounds._inputs": ["bounds_inputs"],
    "bounds.classical": ["bounds_classical"],
    "bounds.linear": ["bounds_linear"],
    "bounds.posterior": ["bounds_posterior"],
    "bounds.run": ["bounds_run"],
    "bounds.spectrum": ["bounds_spectrum"],
    "forecasters.analytic": ["analytic"],
    "forecasters.base": ["rules"],
    "forecasters.chebyshev": ["polynomials"],
    "forecasters.dmd": ["dmd"],
    "forecasters.elementwise": ["elementwise"],
    "forecasters.gram_rule": ["rules"],
    "forecasters.mixture": ["mixture"],
    "forecasters.polynomial": ["polynomials"],
    "forecasters.profile": ["profile", "profile_files"],
    "forecasters.profile_file": ["profile_files"],
    "forecasters.profile_folder": ["profile_files"],
    "forecasters.rational": ["rational", "analytic"],
    "forecasters.recursive": ["steps"],
    "forecasters.shanks": ["shanks"],
    "forecasters.steps": ["steps"],
    "forecasters.tcpade": ["tcpade"],
    "forecasters.tcpade_paper": ["tcpade"],
    "forecasters.tcpade_released": ["tcpade"],
}


def mutated(module, tests):
    """Run mutmut on one module in a copy of the tree; returns the copy."""
    copy, path = ROOT / "out" / "mutants" / module, f"spectral_forecast/{module.replace('.', '/')}.py"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("spectral_forecast", "tests"):
        shutil.copytree(ROOT / name, copy / name, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    files = "".join(f"\n    tests/test_{name}.py" for name in tests)
    (copy / "setup.cfg").write_text(
        f"[mutmut]\nsource_paths=spectral_forecast\nonly_mutate=\n    {path}\nalso_copy=\n    conftest.py\n"
        f"pytest_add_cli_args_test_selection={files}\n"
    )
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "brief", "OMP_NUM_THREADS": "1"}
    children = os.environ.get("MUTANTS_CHILDREN", str(os.cpu_count()))
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", children]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut on {module}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return copy


def change(diff):
    """What a mutant changes, in one line."""
    lines = [line for line in diff.splitlines() if line[:1] in "-+" and line[:3] not in {"---", "+++"}]
    old, new = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{old}  ->  {new}"


def results(copy):
    """Status and description of every mutant in a copy of the tree."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code

    os.chdir(copy)
    for meta in sorted(Path("mutants/spectral_forecast").rglob("*.py.meta")):
        data = SourceFileMutationData(path=meta.relative_to("mutants").with_suffix(""))
        data.load()
        for name, code in data.exit_code_by_key.items():
            function = name.rpartition("__mutmut_")[0].rsplit(".", 1)[1]
            function = function.removeprefix("x_").replace("xǁ", "").replace("ǁ", ".")
            status = status_by_exit_code[code]
            what = change(get_diff_for_mutant(name, path=data.path)) if status in ESCAPED else ""
            yield status, f"{function}: {what}"


def explained(module):
    """Changes of a module that need no test, with the reason."""
    path = EXPLAINED / f"{module}.json"
    reasons = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {told: reason for reason, changes in reasons.items() for told in changes}


def main(modules):
    """Check the modules one after the other."""
    bad = 0
    for module in modules or TESTS:
        found, reasons = list(results(mutated(module, TESTS[module]))), explained(module)
        escaped = [(status, told) for status, told in found if status in ESCAPED]
        unexplained = [f"  [{status}] {told}" for status, told in escaped if told not in reasons]
        stale = [f"  [explained, but noticed] {told}" for told in reasons.keys() - {told for _, told in escaped}]
        print(
            f"{module}: {len(found)} mutants, {len(found) - len(escaped)} noticed, "
            f"{len(escaped) - len(unexplained)} explained, {len(unexplained)} unexplained",
            *unexplained,
            *sorted(stale),
            sep="\n",
            flush=True,
        )
        bad += len(unexplained) + len(stale)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
