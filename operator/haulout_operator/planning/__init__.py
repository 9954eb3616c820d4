"""The pure planner: from one moment of a network to what should be done next, and what to say about it."""
