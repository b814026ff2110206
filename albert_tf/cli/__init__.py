"""Start of a script, before TensorFlow loads: settings, flags, help, log, signals."""
