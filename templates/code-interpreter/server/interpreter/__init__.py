"""Runs code in kernels and streams what comes out. See README.md, one level up."""
