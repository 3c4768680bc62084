"""Trains the bundled VQ-Diffusion model: emoji pictures, a VQ-VAE, and a text-conditioned discrete diffusion model."""
