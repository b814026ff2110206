"""Start-up of a script: environment, flags and error messages.

Scripts import TensorFlow in `main`, by `load_tensorflow`. What needs no TensorFlow, such as
`--help`, errors in flags and missing files, then takes no time.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import logging as python_logging
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

from absl import app, logging
from absl import flags as absl_flags

from albert_tf.cli import flags, log, signals
from albert_tf.cli.settings import missing_files
from albert_tf.devices import distributed
from albert_tf.io import native_log
from albert_tf.io.errors import InputError, SharedInputError

_HELP_FLAGS = {"--help", "-help", "-h", "-?", "--helpshort", "-helpshort"}
_HELP_CODE = 1  # absl's exit code after help

_GB = 1e9
# Address space that a run of a tiny model takes on two cores. With less, native code aborts.
_LEAST_ADDRESS_SPACE = 3.2 * _GB
_RAISE_ADDRESS_SPACE = "raise the limit with `ulimit -v unlimited`"
_OUT_OF_MEMORY = ("Cannot allocate memory", "can't start new thread", "failed to map segment")
_DISK_IS_FULL = "the disk is full: {}; free some space and run the same command again"
# What to say about errors of the operating system.
_SYSTEM_ERRORS = {
    errno.ENOSPC: _DISK_IS_FULL,
    errno.EDQUOT: _DISK_IS_FULL,
    errno.EFBIG: "{}; raise the limit with `ulimit -f unlimited` and run the same command again",
    errno.EISDIR: "{}, in the place of a file; move it away and run the same command again",
}


def launch(main: Callable[..., None], settings_class: type, takes_arguments: bool = False) -> None:
    """Run a script: parse its flags, call `main`, report bad input in one line with exit code 1.

    An error in one process ends all processes of the run. A script that is told to stop by a signal
    says so in one line, and exits with 128 plus the number of the signal.

    Args:
      main: function of the settings, and of the positional arguments if `takes_arguments`.
      settings_class: dataclass of the script's settings, the source of its flags.
      takes_arguments: whether the script accepts positional arguments.
    """
    _open_closed_streams()
    log.start()
    flags.define(settings_class)

    def main_with_messages(argv: list[str]) -> None:
        try:
            signals.start()
            arguments = argv[1:]
            if arguments and not takes_arguments:
                raise InputError(
                    f"{' '.join(arguments)}: not a flag; join a flag and its value with an equals "
                    "sign, as in --do_train=false"
                )
            settings: object = flags.read(settings_class)
            if distributed.launched_processes() == 1:  # other hosts have their own files
                missing = missing_files(settings)
                if missing:
                    raise InputError(*missing)
            main(*([settings, arguments] if takes_arguments else [settings]))
        except signals.Stopped as stop:
            if not stop.is_told:
                logging.warning("%s", stop)
            distributed.exit_process(stop.exit_code, is_shared=stop.is_told)
        except Exception as error:
            signals.release()  # the launcher may end this process while it waits for others
            message = explain(error)
            if message is None or logging.get_verbosity() >= logging.DEBUG:
                message = traceback.format_exc()
            else:
                message = "\n".join(f"error: {line}" for line in message.splitlines())
            is_told_by_chief = isinstance(error, SharedInputError)
            if distributed.is_chief() or not is_told_by_chief:
                log.add(message)
            if distributed.is_failure_elsewhere(error):
                distributed.exit_after_others(message)
            distributed.exit_with_error(message, is_told_by_chief)
        finally:
            signals.release()

    def parse(arguments: list[str]) -> list[str]:
        before_words = itertools.takewhile(lambda argument: argument != "--", arguments)
        if not _HELP_FLAGS.isdisjoint(before_words):
            from albert_tf.cli.help_text import help_text

            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in `--help | head`
            print(help_text(settings_class, sys.modules["__main__"].__doc__ or ""))
            sys.exit(_HELP_CODE)
        return _parse_flags(arguments)

    app.run(main_with_messages, flags_parser=parse)


def _open_closed_streams() -> None:
    """Open standard streams that are closed, as by `2>&-`, before another file takes their place.

    What is written to them is lost; lines of the log are in `log.txt`.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parse the flags; say what to use in place of those of other ALBERT code."""
    try:
        return absl_flags.FLAGS(arguments)
    except absl_flags.UnrecognizedFlagError as error:
        from albert_tf.cli.foreign_flags import remedy

        text = remedy(error.flagname, [*absl_flags.FLAGS])
        if text:
            sys.exit(f"error: --{error.flagname}: {text}")
    except absl_flags.Error:
        pass
    return app.parse_flags_with_usage(arguments)  # prints the error and the usage


def load_tensorflow() -> None:
    """Import TensorFlow with the environment variables that it reads then, and silence its log.

    By default TensorFlow uses oneDNN on some processors only, but its products are faster on all
    that were measured (`benchmarks/README.md`), and the bfloat16 rewrite is a part of it. From
    TensorFlow 2.17 on, it describes the processor and the missing GPU on import, before it has a
    log level.

    Raises:
      InputError: if the address space of the process is too small for TensorFlow.
      ModuleNotFoundError: if TensorFlow is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        limited = f"the address space of a process is limited to {limit / _GB:.1f} GB"
        if limit < _LEAST_ADDRESS_SPACE:
            raise InputError(
                f"{limited}, but TensorFlow takes more than {_LEAST_ADDRESS_SPACE / _GB:.1f} GB; "
                f"{_RAISE_ADDRESS_SPACE}"
            )
        # TensorFlow aborts where it cannot get more.
        logging.warning("%s; if the run aborts, %s", limited, _RAISE_ADDRESS_SPACE)
    # Modules of native code may turn `Stopped` into an error of their own.
    with signals.deferred(), native_log.suppressed():
        importlib.import_module("tensorflow")
    for library in ("tensorflow", "h5py"):
        python_logging.getLogger(library).setLevel(python_logging.ERROR)


def explain(error: Exception) -> str | None:
    """Explain an error to the user; None if it is not one that a user can fix."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        return (
            f"TensorFlow is not installed for {sys.executable}: create the environment with "
            "`make setup` and enter it with `. .venv/bin/activate`"
        )
    if distributed.is_failure_elsewhere(error):
        return "stopped because another process ended: see its error, or the launcher's output"
    explanation = _explain_system(error)
    if explanation is None and "tensorflow" in sys.modules:
        explanation = _explain_tensorflow(error)
    return explanation


def _explain_system(error: Exception) -> str | None:
    """Explain an error of the operating system, which TensorFlow may have wrapped in its own."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = error.filename2 or error.filename  # the second is the target of a renaming
        text = f"{place}: {error.strerror}" if place else error.strerror
    for number, explanation in _SYSTEM_ERRORS.items():
        for line in text.splitlines():
            if os.strerror(number) in line:
                return explanation.format(line)
    if isinstance(error, MemoryError) or any(reason in text for reason in _OUT_OF_MEMORY):
        is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        remedy = _RAISE_ADDRESS_SPACE if is_limited else "lower --num_workers or the batch size"
        return f"out of memory: {text or 'Python has none left'}; {remedy}"
    return text if isinstance(error, OSError) else None


def _explain_tensorflow(error: Any) -> str | None:
    import tensorflow.compat.v1 as tf

    if isinstance(error, tf.train.NanLossDuringTrainingError):
        return "the loss is NaN: lower --learning_rate or lengthen the warm-up"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        first_line = str(error).splitlines()[0]
        return f"out of memory: lower the batch size or --max_seq_length: {first_line}"
    return None
