"""What tests of the front door share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kitae.core.console import console
from kitae.core.i18n import set_language


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Flags change what the whole process does."""
    yield
    console.quiet = console.debug = False
    set_language(None)
