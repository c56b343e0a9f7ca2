"""The machine below the training: its devices, its memory, its processes, and CUDA graphs."""
