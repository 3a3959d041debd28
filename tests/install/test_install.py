"""`make` creates an environment on a machine with Python, make and a package index, whatever interrupts it.

The index is the real one. Packages that uv has downloaded before come from its cache.
"""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PARTS = ("Makefile", "README.md", "LICENSE", "pyproject.toml", "requirements", "src")
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
"""A proxy address at which nothing listens."""
BASE = ".venv/base.installed"


class Checkout:
    """A clone of the project in a folder with spaces and umlauts, with or without an environment."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.root, self.programs = folder / "Über dem Fluß", folder / "bin"
        for part in PARTS:
            copy = shutil.copytree if (project / part).is_dir() else shutil.copy
            (self.root / part).parent.mkdir(parents=True, exist_ok=True)
            copy(project / part, self.root / part)
        self.programs.mkdir()
        (self.programs / "python3").symlink_to(Path(sys.base_prefix, "bin/python3"))
        (self.programs / "make").symlink_to(str(shutil.which("make")))

    @property
    def environment(self) -> Path:
        return self.root / ".venv"

    @property
    def lock(self) -> Path:
        return self.root / "requirements/base.lock"

    def start(self, target: str = BASE, **variables: str) -> "subprocess.Popen[str]":
        """`make TARGET` with nothing but Python and make on PATH, in a process group of its own."""
        excluded = ("MAKE", "MFLAGS", "VIRTUAL")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
        return subprocess.Popen(
            [self.programs / "make", target],
            cwd=self.root,
            env=inherited | {"PATH": str(self.programs)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - ignored in the background
        )

    def make(self, target: str = BASE, **variables: str) -> tuple[int, list[str]]:
        """The exit status of `make TARGET`, and its lines on standard error, without those of make itself."""
        process = self.start(target, **variables)
        _, errors = process.communicate(timeout=300)
        return process.returncode, [line for line in errors.splitlines() if not line.startswith("make:")]

    def missing_files(self) -> list[str]:
        """Files that installed packages list in RECORD but don't have, and packages without RECORD."""
        [packages] = self.environment.glob("lib/python3*/site-packages")
        records = list(packages.glob("*.dist-info/RECORD"))
        files = [row[0] for record in records for row in csv.reader(record.read_text().splitlines())]
        without = [str(folder) for folder in packages.glob("*.dist-info") if not (folder / "RECORD").exists()]
        return without + [file for file in files if not file.endswith(".pyc") and not (packages / file).exists()]

    def uv(self, *arguments: str) -> str:
        command = [self.environment / "bin/uv", "pip", *arguments, "--python", self.environment / "bin/python"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def works(self) -> bool:
        """Whether all locked packages are installed completely, and the project's own command starts."""
        expected = set(re.findall(r"^([\w.-]+)==[^;\n]*$", self.lock.read_text(), re.MULTILINE))
        installed = {package["name"] for package in json.loads(self.uv("list", "--format", "json"))}
        started = subprocess.run([self.environment / "bin/meshflow", "--help"], capture_output=True, check=False)
        return not self.missing_files() and expected <= installed and started.returncode == 0

    def corrupt_hashes(self, package: str) -> None:
        """Replace the hashes of a package in the lock with wrong ones."""
        text = self.lock.read_text()
        [block] = re.findall(rf"^{package}==.*?(?=^\w)", text, re.MULTILINE | re.DOTALL)
        self.lock.write_text(text.replace(block, re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", block)))


@pytest.fixture
def checkout(project: Path, tmp_path: Path) -> Checkout:
    return Checkout(project, tmp_path)


@pytest.fixture(scope="module")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with its environment. Tests clone it."""
    checkout = Checkout(project, tmp_path_factory.mktemp("installed"))
    assert checkout.make() == (0, [])
    return checkout


@pytest.fixture
def clone(installed: Checkout, checkout: Checkout) -> Checkout:
    """A checkout with a copy of that environment."""
    shutil.copytree(installed.environment, checkout.environment, symlinks=True)
    return checkout


def test_a_fresh_clone_needs_only_python_and_make(installed: Checkout) -> None:
    assert installed.works()
    assert installed.make() == (0, [])


@pytest.mark.parametrize("setting", ["", "1"])
def test_packages_are_compiled_if_commands_may_not_compile_them(setting: str, checkout: Checkout) -> None:
    assert checkout.make(PYTHONDONTWRITEBYTECODE=setting) == (0, [])
    [package] = checkout.environment.glob("lib/python3*/site-packages/sqlmesh")
    assert any(package.glob("core/__pycache__/context.*.pyc")) is bool(setting)


def test_uv_uses_the_package_index_of_pip(clone: Checkout, tmp_path: Path) -> None:
    clone.uv("uninstall", "croniter")
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\n")
    settings = {"PIP_CONFIG_FILE": str(config), "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_NO_CONFIG": "1"}
    (clone.root / BASE).unlink()
    status, errors = clone.make(**settings)
    assert status
    assert len(errors) == 1
    assert "http://127.0.0.1:9/simple/" in errors[0]


def test_a_wrong_hash_prints_one_line_and_leaves_the_environment_as_it_was(clone: Checkout) -> None:
    clone.uv("uninstall", "croniter")  # an installed package is not downloaded
    right = clone.lock.read_text()
    clone.corrupt_hashes("croniter")
    status, errors = clone.make()
    assert status
    assert len(errors) == 1
    assert "requirements/base.lock can't be installed into .venv" in errors[0]
    assert "croniter==" in errors[0]
    assert "`git diff requirements`" in errors[0]
    assert clone.make() == (status, errors), "make tries again"
    clone.lock.write_text(right)
    assert clone.make() == (0, [])
    assert clone.works()


def test_a_wrong_hash_of_the_installer_prints_one_line(checkout: Checkout) -> None:
    installer = checkout.root / "requirements/installer.lock"
    right = installer.read_text()
    installer.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", right))
    status, errors = checkout.make()
    assert status
    assert len(errors) == 1
    assert "uv" in errors[0]
    assert "`git diff requirements`" in errors[0]
    installer.write_text(right)
    assert checkout.make() == (0, [])
    assert checkout.works()


@pytest.mark.parametrize("step", ["the installer", "the lock"])
def test_a_missing_network_prints_one_line(step: str, checkout: Checkout, clone: Checkout, tmp_path: Path) -> None:
    if step == "the installer":
        shutil.rmtree(checkout.environment)
    else:
        clone.lock.touch()
        clone.uv("uninstall", "croniter")
    no_cache = {"UV_CACHE_DIR": str(tmp_path / "cache"), "PIP_CACHE_DIR": str(tmp_path / "cache"), "PIP_RETRIES": "0"}
    status, errors = checkout.make(**NO_NETWORK, **no_cache, UV_HTTP_RETRIES="0")
    assert status
    assert len(errors) == 1, errors
    assert "Check the network" in errors[0]
    assert checkout.make() == (0, [])
    assert checkout.works()


def test_a_second_make_fails_while_the_first_is_running(clone: Checkout) -> None:
    clone.lock.touch()
    with (clone.environment / "installing").open("a+") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        status, errors = clone.make()
    assert status
    assert len(errors) == 1
    assert "another make is installing into it" in errors[0]


@pytest.mark.parametrize(
    ("kill_signal", "packages"), [(signal.SIGKILL, 0), (signal.SIGKILL, 5), (signal.SIGKILL, 25), (signal.SIGINT, 25)]
)
def test_the_next_make_repairs_an_interrupted_installation(
    kill_signal: signal.Signals, packages: int, checkout: Checkout
) -> None:
    with checkout.start() as process:
        while len(list(checkout.environment.glob("lib/python3*/site-packages/*.dist-info"))) < packages:
            assert process.poll() is None, "the installation ended before its interruption"
            time.sleep(0.002)
        os.killpg(process.pid, kill_signal)
        _, errors = process.communicate()
    assert process.returncode
    if kill_signal is signal.SIGINT:
        lines = [line for line in errors.splitlines() if not line.startswith("make:")]
        assert lines == ["Interrupted: the next make builds .venv again"]
    assert not list(checkout.environment.glob("*installed"))
    assert checkout.make() == (0, [])
    assert checkout.works()


def test_the_next_make_reinstalls_every_lock_that_an_interruption_left_behind(clone: Checkout) -> None:
    """A second lock was being installed when the power failed: the next make installs both."""
    second = clone.root / "requirements/second.lock"
    second.write_text(clone.lock.read_text())
    stamps = {"base.installed": "requirements/base.lock", "second.installed": "requirements/second.lock"}
    (clone.environment / "installing").write_text(json.dumps(stamps))
    (clone.environment / "base.installed").unlink()
    (packages,) = clone.environment.glob("lib/python3*/site-packages")
    next(packages.glob("croniter-*.dist-info/RECORD")).unlink()
    assert clone.make(".venv/base.installed") == (0, [])
    assert sorted(path.name for path in clone.environment.glob("*installed")) == sorted(stamps)
    assert clone.works()


Resize = Callable[[int], None]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Resize]:
    """Mount a small file system as `folder`, and yield a function that resizes it. Only root may mount."""

    def as_root(*command: object) -> None:
        subprocess.run([*([] if os.geteuid() == 0 else ["sudo", "-n"]), *map(str, command)], check=True)

    def size(megabytes: int) -> str:
        return f"size={megabytes}m,mode=777"

    folder.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", size(megabytes), "tmpfs", folder)
    try:
        yield lambda megabytes: as_root("mount", "-o", f"remount,{size(megabytes)}", folder)
    finally:
        as_root("umount", "--lazy", folder)


@pytest.mark.parametrize("megabytes", [1, 90])
def test_a_full_disk_prints_one_line(megabytes: int, checkout: Checkout) -> None:
    """The disk is full while the environment is created, or while packages are copied."""
    with small_disk(checkout.environment, megabytes) as resize:
        status, errors = checkout.make()
        assert status
        assert len(errors) == 1, errors
        assert "Free some disk space" in errors[0]
        resize(2_000)
        assert checkout.make() == (0, [])
        assert checkout.works()


def test_stamps_of_an_older_makefile_and_of_a_deleted_lock_are_ignored(clone: Checkout) -> None:
    (clone.environment / "gone.installed").write_text("requirements/gone.lock")
    (clone.root / BASE).write_text("")
    os.utime(clone.root / BASE, (0, 0))  # older than the lock, whatever the file system's clock resolves
    (clone.environment / "bin/uv").unlink()
    assert clone.make(PYTHON=".venv/bin/python") == (0, []), "with the environment activated"
    assert clone.works()
    assert [path.name for path in clone.environment.glob("*installed")] == ["base.installed"]


def test_an_environment_that_cannot_be_created_prints_one_line(checkout: Checkout) -> None:
    checkout.environment.touch()
    status, errors = checkout.make()
    assert status
    assert len(errors) == 1
    assert "requirements/base.lock can't be installed into .venv" in errors[0]


def test_a_partly_written_list_of_stamps_leads_to_a_rebuild(clone: Checkout) -> None:
    (clone.root / BASE).unlink()
    (clone.environment / "installing").write_text('{"base.inst')
    assert clone.make() == (0, [])
    assert clone.works()
