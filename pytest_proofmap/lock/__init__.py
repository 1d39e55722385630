"""Approved routes: the file that is reviewed, what it stands on, and how it is served."""
