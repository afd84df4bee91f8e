"""What docs/running.md claims of every family is tested on one of every family."""

from __future__ import annotations

import families

from s4eca.encoders.catalog import FAMILIES
from s4eca.registry import METHODS


def test_every_family_of_the_catalogue_is_among_the_tested(pairs):
    tested = {pairs(vision=name)[0].spec.family for name in families.VISION}
    tested |= {pairs(text=name)[1].spec.family for name in families.TEXT}
    assert set(FAMILIES) <= tested


def test_every_method_is_among_the_tested():
    import cheap

    assert set(METHODS) == set(cheap.METHODS)
