"""One box of the graph a file: it hands paths to one verb, nothing else."""
