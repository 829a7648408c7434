"""Training: batches, augmentation, checkpoints, seeds, the machine, the optimiser."""
