"""Converts models between TensorFlow checkpoints and the format of Hugging Face's transformers.

The direction follows from the flags: --huggingface_dir is converted to a TensorFlow checkpoint,
--init_checkpoint to a folder for transformers.
"""

from __future__ import annotations

from albert_tf.runs import training  # isort: skip  # before TensorFlow, whose log it quiets

from absl import flags, logging

from albert_tf import huggingface
from albert_tf.errors import InputError
from albert_tf.glue import data as glue
from albert_tf.runs import checkpoints, model_files

FLAGS = flags.FLAGS
training.define_string("huggingface_dir", None, "Folder of transformers, to be converted.")
training.define_string(
    "init_checkpoint",
    None,
    "Checkpoint to be converted: a prefix, one of its files, or a directory (its model.ckpt-best "
    "or its latest).",
)
training.define_string("albert_config_file", None, "Its config. Default: beside the checkpoint.")
training.define_string(
    "spm_model_file", None, "Its SentencePiece model. Default: beside the checkpoint."
)
training.define_boolean("do_lower_case", True, "Whether text is lower-cased.")
training.define_string(
    "task_name", None, "The GLUE task of a classifier, whose labels are then named."
)
training.define_string("output_dir", None, "The new folder.")


def main(_):
    """Converts in the direction that the flags tell."""
    if bool(FLAGS.huggingface_dir) == bool(FLAGS.init_checkpoint):
        raise InputError(
            "give either --huggingface_dir, to make a TensorFlow checkpoint of it, or "
            "--init_checkpoint, to make a folder for transformers"
        )
    if not FLAGS.output_dir:
        raise InputError("--output_dir is missing: give the new folder")
    if FLAGS.huggingface_dir:
        model = huggingface.read_huggingface(FLAGS.huggingface_dir, FLAGS.output_dir)
        print("\n".join(model.as_flags()))
    else:
        _to_huggingface()


def _to_huggingface():
    checkpoint = checkpoints.find_checkpoint(FLAGS.init_checkpoint)
    config_file, spm_model_file = model_files.beside_checkpoint(
        checkpoint, FLAGS.albert_config_file, FLAGS.spm_model_file
    )
    labels = glue.find_task(FLAGS.task_name).labels if FLAGS.task_name else ()
    architecture = huggingface.write_huggingface(
        FLAGS.output_dir, config_file, spm_model_file, checkpoint, FLAGS.do_lower_case, labels
    )
    logging.info("%s has been made of %s", FLAGS.output_dir, checkpoint)
    print(f'transformers.{architecture}.from_pretrained("{FLAGS.output_dir}")')


if __name__ == "__main__":
    training.launch(main)
