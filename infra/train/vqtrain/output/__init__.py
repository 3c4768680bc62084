"""What comes out of a run: checkpoints, images, figures."""
