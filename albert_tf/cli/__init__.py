"""What a script is before TensorFlow loads: settings, flags, help, log, signals."""
