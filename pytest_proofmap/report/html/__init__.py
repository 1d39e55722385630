"""The report as one HTML page: what it shows, what it holds, and how it is put together."""
