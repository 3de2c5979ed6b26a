"""The parts of the trainer: options, data order, averaging, checkpoints, log, loop."""
