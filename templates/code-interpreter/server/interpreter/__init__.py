"""Runs code in kernels and streams the results."""
