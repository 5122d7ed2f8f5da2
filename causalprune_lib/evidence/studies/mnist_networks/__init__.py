"""Chapters 10 to 12: the MNIST networks that three chapters judge, and their spectra."""
