"""Foreign formats, one file each. Parameter names that are not ours live in this folder and nowhere else."""
