"""How a request gets its answer. Nothing here knows pytest."""
