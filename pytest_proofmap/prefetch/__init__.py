"""How plain tests run at wire speed: dry runs ask for answers ahead of the tests that need them."""
