"""Compares training and prediction with ALBERT in `transformers`, on SQuAD files.

Both programs run in turns, as other load on the machine slows both; each figure is the median of
the turns. Tokens are real ones: padding does not count. The useful operations are 24 D^2 + 4 S D
per token and layer in the forward pass, S the length of its sequence, and three times that in
training. Their rate is compared with that of a plain product of two matrices, the better of
TensorFlow's and PyTorch's in the same turns.

`make compare` makes the environment of `transformers`. The weights are random: the time does not
depend on them. Prediction here goes from records to answers, in `transformers` it is the forward
pass alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # folder of albert_tf

from common import add_size_arguments, report, squad_arguments
from prediction import MAX_SEQ_LENGTH, write_questions, write_random_model
from turns import Worker

FOLDER = Path(__file__).parent
TRANSFORMERS_PYTHON = ROOT / ".venv-compare/bin/python"
THIS, PADDED_THIS = "this project", "this project, with --compute_padding"
ARRANGEMENTS = {  # of `compare_transformers.py`, by job and in words
    "train": {
        "padded": "padded to 384",
        "longest": "padded to the longest of the batch",
        "grouped": "grouped by length",
    },
    "predict": {
        "padded": "padded to 384",
        "longest": "as they come",
        "grouped": "sorted by length",
    },
}
MEMORY_BATCH_SIZE = 8


def main() -> None:
    """Measure, print a line of JSON for each figure, and a table."""
    parser = squad_arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--questions", type=int, default=128, help="questions to predict in a turn")
    parser.add_argument("--batches", type=int, default=4, help="training steps in a turn")
    parser.add_argument(
        "--warm_up_batches",
        type=int,
        default=16,
        help="training steps before the first turn: each new shape of a batch is prepared once",
    )
    parser.add_argument("--turns", type=int, default=5, help="turns to take the median of")
    parser.add_argument("--train_batch_size", type=int, default=4)
    parser.add_argument("--predict_batch_size", type=int, default=8)
    parser.add_argument("--jobs", default="train,predict,memory")
    parser.add_argument(
        "--arrangements",
        default="padded,longest,grouped",
        help="of transformers' batches: padded to 384, to the longest, and grouped by length",
    )
    parser.add_argument("--dtypes", default=",".join(fast_dtypes()))
    parser.add_argument(
        "--transformers_python",
        default=str(TRANSFORMERS_PYTHON),
        help="Python of the environment with transformers; empty to measure this project alone",
    )
    add_size_arguments(parser)
    args = parser.parse_args()
    unknown = set(args.arrangements.split(",")) - set(ARRANGEMENTS["train"])
    if unknown:
        parser.error(f"--arrangements: there is no {', '.join(sorted(unknown))}")
    if args.transformers_python and not Path(args.transformers_python).exists():
        parser.error(f"{args.transformers_python} does not exist: run `make compare`")
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(args, Path(directory))
        for job in args.jobs.split(","):
            for dtype in args.dtypes.split(","):
                figures = bench.memory(dtype) if job == "memory" else bench.speed(job, dtype)
                for figure in figures:
                    report("compare", job=job, dtype=dtype, **figure)
                    rows.append({"job": job, "dtype": dtype, **figure})
    print_table(rows)


def fast_dtypes() -> list[str]:
    """Types of numbers to measure: bfloat16 only where the processor has instructions for it."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return ["float32", "bfloat16"] if {"avx512_bf16", "amx_bf16"} & set(flags) else ["float32"]


class Bench:
    """Inputs of the measurements, and the workers that take them."""

    def __init__(self, args: argparse.Namespace, directory: Path):
        """Write the model and the questions to predict."""
        self._args = args
        self._arrangements = args.arrangements.split(",") if args.transformers_python else []
        self._directory = directory
        write_random_model(args, directory)
        self._questions = directory / "questions.json"
        write_questions(args.squad_file, args.questions, self._questions)

    def _this(self, job, dtype, batch_size, compute_padding=False):
        """Worker of this project."""
        is_training = job == "train"
        flags = {
            "albert_config_file": self._directory / "albert_config.json",
            "init_checkpoint": self._directory / "model.ckpt",
            "spm_model_file": self._args.spm_model_file,
            "train_file": self._args.squad_file,
            "predict_file": self._questions,
            "output_dir": self._directory / f"{job}-{dtype}-{compute_padding}",
            "max_seq_length": MAX_SEQ_LENGTH,
            "do_train": is_training,
            "do_predict": not is_training,
            "train_batch_size": batch_size,
            "predict_batch_size": batch_size,
            "compute_padding": compute_padding,
            "num_train_epochs": 1000,  # more than all turns
        }
        command = [sys.executable, str(FOLDER / "compare_this.py")]
        command += [f"--{name}={value}" for name, value in flags.items()]
        conversion = str(ROOT / "bf16_config/albert.json") if dtype == "bfloat16" else "0"
        return Worker(command, {"TF_BF16_CONVERSION": conversion})

    def _transformers(self, job, dtype, features):
        """Worker of `transformers`."""
        command = [self._args.transformers_python, str(FOLDER / "compare_transformers.py"), job]
        command += [features, str(self._directory / "albert_config.json"), dtype]
        return Worker(command, {"HF_HUB_OFFLINE": "1"})

    def speed(self, job: str, dtype: str) -> list[dict]:
        """Measure tokens per second.

        Args:
          job: "train" or "predict".
          dtype: "float32" or "bfloat16".

        Returns:
          Figures of this project, in training also of its padded graph, and of each arrangement of
          `transformers`.
        """
        args = self._args
        batch_size = args.train_batch_size if job == "train" else args.predict_batch_size
        workers = [self._this(job, dtype, batch_size)]
        features = workers[0].call(do="features")
        programs = {THIS: workers[0]}
        if job == "train":
            workers.append(self._this(job, dtype, batch_size, compute_padding=True))
            programs[PADDED_THIS] = workers[-1]
        if self._arrangements:
            workers.append(self._transformers(job, dtype, features["path"]))
            programs.update(dict.fromkeys(self._arrangements, workers[-1]))
        turn = {"do": "turn", "batch_size": batch_size, "tokens": sum(features["lengths"])}
        for name, worker in programs.items():  # builds graphs and takes memory
            worker.call(**turn, arrangement=name, batches=args.warm_up_batches)
        results, products = {name: [] for name in programs}, []
        for _ in range(args.turns):
            for name, worker in programs.items():
                result = worker.call(**turn, arrangement=name, batches=args.batches)
                results[name].append(result)
            products.append(max(worker.call(do="product") for worker in workers))
        for worker in workers:
            worker.close()
        operations = self._operations_per_token(features["lengths"], job == "train")
        return list(speed_figures(job, results, operations / statistics.median(products)))

    def _operations_per_token(self, lengths, is_training):
        """Useful operations per token, on average over features of these lengths."""
        width, layers = self._args.hidden_size, self._args.layers
        length = sum(n * n for n in lengths) / sum(lengths)  # of the sequence of a token
        forward = layers * (24 * width**2 + 4 * length * width)
        return 3 * forward if is_training else forward

    def memory(self, dtype: str) -> list[dict]:
        """Measure the peak memory of training, each in a process of its own."""
        turn = {"do": "turn", "batch_size": MEMORY_BATCH_SIZE, "batches": self._args.batches}
        worker = self._this("train", dtype, MEMORY_BATCH_SIZE)
        features = worker.call(do="features")["path"]
        peaks = {THIS: worker.call(**turn)["memory"]}
        worker.close()
        for name in self._arrangements:
            worker = self._transformers("train", dtype, features)
            peaks[name] = worker.call(**turn, arrangement=name)["memory"]
            worker.close()
        return [
            {"program": _in_words("train", name), "gigabytes": peak / 1e9}
            for name, peak in peaks.items()
        ]


def speed_figures(job: str, results: dict[str, list[dict]], seconds: float) -> Iterator[dict]:
    """Yield the figures of each program.

    Args:
      job: "train" or "predict".
      results: answers of the workers in each turn, by program.
      seconds: time of a token's useful operations at the rate of a plain product.
    """
    rates = {
        name: [result["tokens"] / result["seconds"] for result in turns]
        for name, turns in results.items()
    }
    for name, values in rates.items():
        median = statistics.median(values)
        yield {
            "program": _in_words(job, name),
            "tokens_per_second": median,
            "lowest": min(values),
            "highest": max(values),
            "cores": statistics.median(result["cores"] for result in results[name]),
            "ratio": statistics.median(rates[THIS]) / median,
            "share_of_product_rate": median * seconds,
        }


def _in_words(job, name):
    return f"transformers, {ARRANGEMENTS[job][name]}" if name in ARRANGEMENTS[job] else name


def print_table(rows: list[dict]) -> None:
    """Print all figures as a table in Markdown."""
    print("\n| | | tokens/s | this project is | of the product rate | memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        cells = [f"{row['job']}, {row['dtype']}", row["program"]]
        if "gigabytes" in row:
            cells += ["", "", "", f"{row['gigabytes']:.2f} GB"]
        else:
            share = f"{row['share_of_product_rate']:.0%}"
            cells += [f"{row['tokens_per_second']:.0f}", f"{row['ratio']:.2f} ×", share, ""]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
