"""Runs code in kernels and streams what comes out."""
