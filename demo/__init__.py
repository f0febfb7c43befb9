"""A small corpus of rendered physics clips and a small trained model, so that everything runs on a laptop."""
