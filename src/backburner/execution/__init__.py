"""Running functions that are not ours: as tasks, in threads, in processes, on a cluster."""
