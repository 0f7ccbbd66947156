"""Measurements of the program, each beside the raw operation on the same machine in the same run."""
