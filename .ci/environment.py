"""Makes a virtual environment, once for all checkouts that need the same one, and links to it.

python .ci/environment.py .venv --level=horovod --constraints=tests/constraints-tf2.8.txt

The environment lies in $ALBERT_ENVIRONMENTS, or else in ~/.cache/albert-tf, under a name made from
the Python version and the requirement files; so a change of these makes another. Two processes may
ask for the same one: the second waits for the first. Its levels are `run` (what the scripts need),
`test` (what runs tests), `dev` (all that the tests need) and `horovod` (compiled against the
installed TensorFlow).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
_FLAGS_FOR_NEW_COMPILERS = "-include cstdint -include stdexcept -Wno-template-body"
LEVELS = ("run", "test", "dev", "horovod")


def main() -> None:
    """Make the environment named by the command line, and a link to it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("link", type=Path, help="link to make, such as .venv")
    parser.add_argument("--level", choices=LEVELS, default="run")
    parser.add_argument("--requirements", default="requirements.txt", help="of the level run")
    parser.add_argument("--constraints", default="/dev/null", help="constraints file of pip")
    arguments = parser.parse_args()
    environment = Environment(ROOT / arguments.requirements, ROOT / arguments.constraints)
    with locked(environment.path):
        for level in LEVELS[: LEVELS.index(arguments.level) + 1]:
            environment.reach(level)
    make_link(arguments.link, environment.path)


def cache() -> Path:
    """Folder of all environments and of the wheels of Horovod."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "albert-tf"
    return Path(os.environ.get("ALBERT_ENVIRONMENTS") or default).expanduser().resolve()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock beside a path; whoever else wants it waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_link(link: Path, target: Path) -> None:
    """Make a symbolic link, in place of an older one or of an environment made without a cache."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    temporary = link.with_name(f"{link.name}.tmp-{os.getpid()}")
    temporary.symlink_to(target)
    temporary.replace(link)


def digest(*parts: str) -> str:
    """Short digest of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


class Environment:
    """A virtual environment for the Python that runs this program.

    Attributes:
      path: its folder, which is complete up to a level if the level's stamp is in it.
    """

    def __init__(self, requirements: Path, constraints: Path):
        """Name the environment after what is installed in it; nothing is made yet."""
        self._requirements = {
            "run": requirements,
            "test": ROOT / "requirements-test.txt",
            "dev": ROOT / "requirements-dev.txt",
            "horovod": ROOT / "requirements-horovod.txt",
        }
        self._build_requirements = ROOT / "requirements-horovod-build.txt"
        self._constraints = constraints
        files = [*self._requirements.values(), self._build_requirements, constraints]
        files.append(ROOT / "requirements-convert.txt")  # named by that of the level dev
        self._python = f"{platform.python_version()}-{platform.machine()}"
        key = digest(self._python, sys.base_prefix, *(path.read_text() for path in files))
        version = "".join(map(str, sys.version_info[:2]))
        self.path = cache() / f"{requirements.stem}-py{version}-{key}"
        self._pip = [
            str(self.path / "bin/python"),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "-q",
        ]

    def reach(self, level: str) -> None:
        """Install what a level needs, unless it is there."""
        stamp = self.path / f"reached-{level}"
        if stamp.exists():
            return
        start = time.time()
        print(f"Making {self.path} ({level}, Python {platform.python_version()}) ...", flush=True)
        if level == "run":
            shutil.rmtree(self.path, ignore_errors=True)
            subprocess.run(
                [getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(self.path)],
                check=True,
            )
        if level == "horovod":
            self._install_horovod()
        else:
            self._install("-r", str(self._requirements[level]))
        stamp.touch()
        print(f"... in {time.time() - start:.0f} s", flush=True)

    def _install(self, *arguments: str) -> None:
        command = [*self._pip, "install", *arguments, "-c", str(self._constraints)]
        subprocess.run(command, check=True)

    def _install_horovod(self) -> None:
        """Install Horovod from a wheel that was compiled against the same TensorFlow, if any."""
        version = "import importlib.metadata as m; print(m.version('tensorflow'))"
        tensorflow = subprocess.run(
            [self._pip[0], "-c", version], check=True, capture_output=True, text=True
        ).stdout.strip()
        has_mpi = shutil.which("mpicxx") is not None
        files = (self._requirements["horovod"], self._build_requirements)
        choices = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith("HOROVOD_")]
        key = digest(
            self._python, tensorflow, str(has_mpi), *choices, *(path.read_text() for path in files)
        )
        wheels = cache() / f"horovod-{key}"
        with locked(wheels):
            if not list(wheels.glob("*.whl")):
                self._compile_horovod(wheels, has_mpi)
        (wheel,) = wheels.glob("*.whl")
        self._install("-r", str(self._build_requirements))  # it imports some of them
        self._install("--no-deps", "--force-reinstall", str(wheel))

    def _compile_horovod(self, wheels: Path, has_mpi: bool) -> None:
        """Compile Horovod against the TensorFlow of the environment.

        From TensorFlow 2.16 on it builds only without its XLA op, which is not used here and needs
        headers that TensorFlow no longer ships.
        """
        if not shutil.which("c++"):
            sys.exit("Horovod needs a C++ compiler: apt-get install g++")
        print(f"Compiling Horovod with Gloo{' and MPI' if has_mpi else ', without MPI'} ...")
        self._install("-r", str(self._build_requirements))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source"
            download = [*self._pip, "download", "--no-deps", "--no-build-isolation"]
            download += ["--no-binary=:all:", "--dest", folder]
            subprocess.run([*download, "-r", str(self._requirements["horovod"])], check=True)
            (archive,) = Path(folder).glob("horovod-*.tar.gz")
            shutil.unpack_archive(str(archive), str(source))
            (source,) = source.iterdir()
            cmake_file = source / "horovod/tensorflow/CMakeLists.txt"
            lines = cmake_file.read_text().splitlines(keepends=True)
            cmake_file.write_text("".join(x for x in lines if "xla_mpi_ops.cc" not in x))
            environment = {
                "HOROVOD_WITH_TENSORFLOW": "1",
                "HOROVOD_WITHOUT_PYTORCH": "1",
                "HOROVOD_WITHOUT_MXNET": "1",
                "HOROVOD_WITH_GLOO": "1",
                "HOROVOD_WITH_MPI" if has_mpi else "HOROVOD_WITHOUT_MPI": "1",
                "CXXFLAGS": _FLAGS_FOR_NEW_COMPILERS,
                "HOROVOD_CMAKE": str(self.path / "bin/cmake"),
                "MAKEFLAGS": f"-j{os.cpu_count()}",
                **os.environ,
            }
            build = [*self._pip, "wheel", str(source), "--no-build-isolation", "--no-deps"]
            build += ["--no-cache-dir", "--wheel-dir", folder]
            subprocess.run(build, check=True, env=environment)
            wheels.mkdir(exist_ok=True)
            for wheel in Path(folder).glob("*.whl"):
                shutil.copy(wheel, wheels / f".{wheel.name}")
                (wheels / f".{wheel.name}").replace(wheels / wheel.name)


if __name__ == "__main__":
    main()
