"""What all models of the domain and the projections have in common."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from pydantic import BaseModel, ValidationError

import lastword.domain
import lastword.projections

MODELS = sorted(
    {
        value
        for room in (lastword.domain, lastword.projections)
        for info in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
        for value in vars(importlib.import_module(info.name)).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel
    },
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_model_cannot_be_changed(model: type[BaseModel]):
    """Events, views and reports are shared between threads, and kept."""
    known = model.model_construct(**dict.fromkeys(model.model_fields))
    for name in model.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(known, name, 1)


def test_the_models_are_found():
    """A finder that finds nothing would pass."""
    names = {model.__name__ for model in MODELS}
    assert {"Owner", "RunCreated", "RecordedEvent", "RunView", "Flag", "VerifyReport"} <= names
