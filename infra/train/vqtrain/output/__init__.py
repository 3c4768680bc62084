"""What comes out of a run: checkpoints, pictures, figures."""
