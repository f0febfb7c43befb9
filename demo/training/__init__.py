"""Trains the demo checkpoint from scratch: autoencoder, then text encoder and denoiser together."""
