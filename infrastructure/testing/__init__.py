"""What tests of code around runs need; `lastword.testing` is its public face, `pytest_plugin` brings it into pytest."""
