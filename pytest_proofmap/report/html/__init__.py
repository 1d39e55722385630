"""The report as one HTML page: what it shows, what it carries, and how it is put together."""
