"""What happened in a run: the evidence models, fingerprints, and how evidence is read and written."""
