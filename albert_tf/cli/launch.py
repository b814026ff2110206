"""Start-up of a script: environment, flags and error messages.

Scripts import TensorFlow in `main`, not before. `--help` and flag errors then need no TensorFlow,
and the environment variables that it reads on import are already set.
"""

from __future__ import annotations

import errno
import logging as python_logging
import os
import sys
import traceback
from typing import Any, Callable

from absl import app, logging
from absl import flags as absl_flags

from albert_tf.cli import flags, foreign_flags, help_text, loading, log_file, stopping
from albert_tf.devices import distributed
from albert_tf.io import native_log
from albert_tf.io.errors import InputError, SharedInputError
from albert_tf.io.log_lines import LineFormatter

_HELP_FLAGS = ("--help", "-help", "-h", "-?", "--helpshort", "-helpshort")
_HELP_CODE = 1  # absl's exit code after help


def launch(main: Callable[..., None], settings_class: type, takes_arguments: bool = False) -> None:
    """Run a script: parse its flags, call `main`, report bad input in one line with exit code 1.

    An error in one process ends all processes of the run. A script that is told to stop by a signal
    says so in one line, and exits with 128 plus the number of the signal.

    Args:
      main: function of the settings, and of the positional arguments if `takes_arguments`.
      settings_class: dataclass of the script's settings, the source of its flags.
      takes_arguments: whether the script accepts positional arguments.
    """
    loading.end_quietly()
    prepare_environment()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().setFormatter(LineFormatter())
    log_file.keep_lines()
    flags.define(settings_class)

    def main_with_messages(argv: list[str]) -> None:
        try:
            stopping.start()
            arguments = argv[1:]
            if arguments and not takes_arguments:
                raise InputError(
                    f"{' '.join(arguments)}: not a flag; join a flag and its value with an equals "
                    "sign, as in --do_train=false"
                )
            settings: object = flags.read(settings_class)
            main(*([settings, arguments] if takes_arguments else [settings]))
        except stopping.Stopped as stop:
            if not stop.is_told:
                logging.warning("%s", stop)
            distributed.exit_process(stop.exit_code, is_shared=stop.is_told)
        except Exception as error:
            stopping.release()  # the launcher may end this process while it waits for others
            message = explain(error)
            if message is None or logging.get_verbosity() >= logging.DEBUG:
                message = traceback.format_exc()
            else:
                message = "\n".join(f"error: {line}" for line in message.splitlines())
            is_told_by_chief = isinstance(error, SharedInputError)
            if distributed.is_chief() or not is_told_by_chief:
                log_file.add(message)
            if distributed.is_failure_elsewhere(error):
                distributed.exit_after_others(message)
            distributed.exit_with_error(message, is_told_by_chief)
        finally:
            loading.end_quietly()

    def parse(arguments: list[str]) -> list[str]:
        if _asks_for_help(arguments):
            print(help_text.help_text(settings_class, sys.modules["__main__"].__doc__ or ""))
            sys.exit(_HELP_CODE)
        return _parse_flags(arguments)

    app.run(main_with_messages, flags_parser=parse)


def _asks_for_help(arguments: list[str]) -> bool:
    before_words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return not set(before_words).isdisjoint(_HELP_FLAGS)


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parse the flags; say what to use in place of those of other ALBERT code."""
    try:
        return absl_flags.FLAGS(arguments)
    except absl_flags.UnrecognizedFlagError as error:
        remedy = foreign_flags.remedy(error.flagname, [*absl_flags.FLAGS])
        if remedy:
            sys.exit(f"error: --{error.flagname}: {remedy}")
    except absl_flags.Error:
        pass
    return app.parse_flags_with_usage(arguments)  # prints the error and the usage


def prepare_environment() -> None:
    """Set the environment variables that TensorFlow reads on import, and silence its log.

    oneDNN is TensorFlow's own choice on some processors alone, but its products are faster on all
    that were measured (`benchmarks/README.md`), and the bfloat16 rewrite is a part of it. From
    TensorFlow 2.17 on, it describes the processor and the missing GPU on import, before it has a
    log level.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    native_log.suppress_on_import("tensorflow")
    for library in ("tensorflow", "h5py"):
        python_logging.getLogger(library).setLevel(python_logging.ERROR)


def explain(error: Exception) -> str | None:
    """Explain an error to the user; None if it is not one that a user can fix."""
    text = str(error)
    if isinstance(error, InputError):
        return text
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        return (
            f"TensorFlow is not installed for {sys.executable}: create the environment with "
            "`make setup` and enter it with `. .venv/bin/activate`"
        )
    if distributed.is_failure_elsewhere(error):
        return "stopped because another process ended: see its error, or the launcher's output"
    if "No space left on device" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"the disk is full: {text.splitlines()[0]}; free some space and run the same command "
            "again"
        )
    if isinstance(error, OSError):
        return text
    return _explain_tensorflow(error) if "tensorflow" in sys.modules else None


def _explain_tensorflow(error: Any) -> str | None:
    import tensorflow.compat.v1 as tf

    if isinstance(error, tf.train.NanLossDuringTrainingError):
        return "the loss is NaN: lower --learning_rate or lengthen the warm-up"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        first_line = str(error).splitlines()[0]
        return f"out of memory: lower the batch size or --max_seq_length: {first_line}"
    return None
