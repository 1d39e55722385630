"""What production may use: the lock, what goes into it and what comes out of it."""
