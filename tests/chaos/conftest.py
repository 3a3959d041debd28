"""Fixtures of this suite."""

from collections.abc import Iterator
from datetime import timedelta

import pytest


@pytest.fixture(scope="module")
def no_margins() -> Iterator[None]:
    """No lag and no worker processes, which would hide the effects of a kill."""
    with pytest.MonkeyPatch.context() as patch:
        # A lag would hide most late commits. No clock is set back here.
        patch.setattr("meshflow.loading.load.LAG", timedelta(0))
        # A run that is killed while it reads the state leaves no workers behind.
        patch.setattr("sqlmesh.core.constants.MAX_FORK_WORKERS", 1)
        yield
