"""Fine-tuning a checkpoint on a manifest: LoRA or the whole denoiser, for the families that attribution knows."""
