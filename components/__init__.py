"""The boxes of the graph, one per file. Each hands paths to one verb and does nothing else."""
