"""What all tests share."""

from hypothesis import settings

# No deadline: a shared machine is slow now and then. `--hypothesis-profile=thorough` looks longer.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("quick")
