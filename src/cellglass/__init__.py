"""Autoencoder embeddings of single cells."""

__version__ = "0.1.0"
