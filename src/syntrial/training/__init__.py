"""How anything learns here: batches, augmentation, checkpoints, seeds, the machine, the optimiser."""
