"""Fixtures of this suite."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from meshflow.loading import reader


@pytest.fixture(scope="module")
def no_margins() -> Iterator[None]:
    """Of time, and no workers, that would hide what a kill does."""
    with pytest.MonkeyPatch.context() as patch:
        # A minute's margin would hide most of what commits late. No clock is set back here; what is left is for the
        # moment between a row's updated_at and its transaction's number, which makes the transaction seen.
        patch.setattr(reader, "LAG", timedelta(milliseconds=100))
        # A run that is killed while it reads the state then leaves no workers behind.
        patch.setattr("sqlmesh.core.constants.MAX_FORK_WORKERS", 1)
        yield
