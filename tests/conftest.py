"""What all tests share."""

from hypothesis import settings

settings.register_profile("lastword", deadline=None)  # a shared machine is slow now and then
settings.load_profile("lastword")
