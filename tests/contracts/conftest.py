"""Failures in the shared suites are shown like failures in any test."""

import pytest

pytest.register_assert_rewrite(
    "contracts.appending",
    "contracts.asking",
    "contracts.grouping",
    "contracts.importing",
    "contracts.keeping",
    "contracts.kit",
    "contracts.restoring",
    "contracts.suspecting",
    "contracts.traveling",
)
