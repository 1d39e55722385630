"""How evidence and decisions are shown."""
