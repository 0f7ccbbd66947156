"""The surface for Letta's clients: jobs, message batches, runs and steps in the shapes they know."""
