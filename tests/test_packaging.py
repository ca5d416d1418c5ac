"""What is installed: the wheel built from the sdist, the public names, and no framework on import."""

import inspect
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import spectral_forecast

ROOT = Path(__file__).parents[1]
FOLDERS = {"spectral_forecast": "spectral_forecast", "adapters": "spectral_forecast/adapters"} | {
    name: f"spectral_forecast/{name}" for name in ("theory", "benchmarks")
}


def run(*command, cwd=ROOT):
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the unpacked sdist and from nothing else."""
    folder = tmp_path_factory.mktemp("build")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, ROOT)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = next(path for path in folder.iterdir() if path.is_dir())
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, source)
    return next(folder.glob("*.whl"))


def expected_files():
    """Every tracked kind of file in the four folders, under its installed name."""
    kinds = {".py", ".typed", ".json", ".safetensors"}
    for folder, installed in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT / folder)
            linked = folder == "spectral_forecast" and inside.parts[0] in FOLDERS
            if path.suffix in kinds and "__pycache__" not in path.parts and not linked:
                yield f"{installed}/{inside.as_posix()}"


def test_the_wheel_holds_every_folder(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licence = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert held == set(expected_files())
    assert "spectral_forecast/py.typed" in held
    assert len(licence) == 1


def test_the_wheel_works_in_a_fresh_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    program = "import spectral_forecast as s; import spectral_forecast.theory; print(s.spectrum(), s.__version__)"
    assert "Chebyshev" in run(python, "-c", program, cwd=tmp_path)
    table = run(tmp_path / "venv" / "bin" / "spectral-forecast", "plan", cwd=tmp_path)
    assert "evaluated: 0-4,6,8,11,15,20,25,31,38,46" in table
    demo = subprocess.run([python.with_name("spectral-forecast"), "demo"], capture_output=True, text=True, check=False)
    assert demo.returncode == 1
    assert "write `pip install 'spectral-forecast[demo]'`" in demo.stderr


def test_importing_the_package_imports_no_framework():
    program = (
        "import sys, spectral_forecast, spectral_forecast.cli, spectral_forecast.plot\n"
        "heavy = {'torch', 'jax', 'diffusers', 'transformers', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    run(sys.executable, "-c", program)


@pytest.mark.parametrize("folder", ["adapters", "theory", "benchmarks"])
def test_folders_refuse_their_bare_names(folder):
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"write `import spectral_forecast.{folder}`" in done.stderr


def test_links_lead_to_the_folders():
    for folder in ("adapters", "theory", "benchmarks"):
        link = ROOT / "spectral_forecast" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..") / folder


def test_public_names():
    """`__all__` holds every name of the package that is neither private nor a module for its own use."""
    public = set(spectral_forecast.__all__)
    for name, value in vars(spectral_forecast).items():
        ours = getattr(value, "__module__", "").startswith("spectral_forecast")
        if ours and not name.startswith("_"):
            assert name in public, name
    assert len(public) == len(spectral_forecast.__all__)


def test_every_public_name_is_documented():
    documented = 0
    for name in spectral_forecast.__all__:
        value = getattr(spectral_forecast, name)
        assert inspect.getdoc(value), name
        members = [getattr(value, part) for part in value.__all__] if inspect.ismodule(value) else []
        for member in members:
            assert any(section in inspect.getdoc(member) for section in ("Examples", "Returns", "Attributes")), member
            documented += 1
    assert documented > 30
