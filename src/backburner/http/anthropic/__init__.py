"""A surface that Anthropic's own clients can use for batches: their shapes on our jobs."""
