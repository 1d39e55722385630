"""What is called: prompt packages, requests, the client, the cache, recordings and prices."""
