"""Fixtures of this suite."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from meshflow.loading import reader


@pytest.fixture(scope="module")
def no_margins() -> Iterator[None]:
    """No lag and no worker processes, which would hide the effects of a kill."""
    with pytest.MonkeyPatch.context() as patch:
        # A lag of a minute would hide most late commits. No clock is set back here. The rest of the lag covers the time
        # between a row's updated_at and its transaction's number, which makes the transaction visible.
        patch.setattr(reader, "LAG", timedelta(milliseconds=100))
        # A run that is killed while it reads the state leaves no workers behind.
        patch.setattr("sqlmesh.core.constants.MAX_FORK_WORKERS", 1)
        yield
