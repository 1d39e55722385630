"""When runtimes are called: the pytest session's engine, its outcomes and its recorder."""
