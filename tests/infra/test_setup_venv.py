import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "infra" / "setup_venv.sh"


@pytest.fixture
def machine(tmp_path):
    """A machine with the given Pythons and no package manager: runs the script on it."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "id"):
        (commands / name).symlink_to(shutil.which(name))
    copy = tmp_path / "checkout" / "infra" / SCRIPT.name
    copy.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, copy)

    def run(pythons):
        for name, (version, fits) in pythons.items():
            python = commands / name
            # Asked for its version, for whether it fits, and for an environment.
            answers = f'--version) echo "Python {version}";; -c) exit {int(not fits)};;'
            python.write_text(f'#!{commands}/bash\ncase "$1" in {answers} esac\n')
            python.chmod(0o755)
        return subprocess.run(
            ["bash", str(copy)], env={"PATH": str(commands)}, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize("version", ["3.13.5", "3.10.12"])
def test_unfit_python_is_named_with_what_to_do(machine, version):
    result = machine({"python3": (version, False)})
    assert result.returncode == 1
    assert f"Python {version}" in result.stdout
    assert "Debian 12 and Ubuntu 24.04" in result.stdout
    assert "uv python install 3.12" in result.stdout


def test_python_without_its_venv_module_says_which_package(machine):
    result = machine({"python3": ("3.12.3", False)})
    assert result.returncode == 1
    assert "Python 3.12.3" in result.stdout
    assert "apt-get install python3-venv" in result.stdout
    assert "uv python" not in result.stdout


def test_no_python_at_all_is_said(machine):
    result = machine({})
    assert result.returncode == 1
    assert "found none" in result.stdout


def test_python_that_fits_is_taken_beside_one_that_does_not(machine):
    result = machine({"python3": ("3.13.5", False), "python3.12": ("3.12.11", True)})
    assert result.returncode == 0, result.stderr
    assert "with Python 3.12.11" in result.stdout
