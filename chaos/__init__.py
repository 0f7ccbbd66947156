"""Real processes under fire: killed, frozen, cut off and starved, and what must hold afterwards."""
