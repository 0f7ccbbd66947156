"""The whole program in one deterministic run, with everything that can go wrong."""
