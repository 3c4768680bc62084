"""Trains the bundled VQ-Diffusion model: emoji images, a VQ-VAE, and a text-conditioned discrete diffusion model."""
