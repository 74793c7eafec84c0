"""What a run keeps on disk: its folder, checkpoints, curves, tensors."""
