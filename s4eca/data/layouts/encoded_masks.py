"""Giving the mask files of a split the one encoding that they, or the reader's options, say they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from s4eca.data.mask_files import BYTES, NUMBERS, MaskFile, find_encoding, stated_encoding
from s4eca.data.sample import Reference


def encoded(
    references: list[Reference], threshold: int | None, foreground: Sequence[int], findings: list[str]
) -> list[Reference]:
    """The references of a split with the encoding of their mask files.

    Args:
        references: all of the split, so that one file cannot be read in another way than its neighbours.
        threshold: the reader option of that name.
        foreground: the reader option of that name.
        findings: gets a sentence where the masks are not written as 0 and 255.

    Raises:
        DataError: the options contradict each other, or the files do not tell what is foreground.
    """
    files = [reference.source.path for reference in references if isinstance(reference.source, MaskFile)]
    encoding = stated_encoding(threshold, foreground)
    if encoding is None:
        encoding = find_encoding(files) if files else BYTES
        if encoding == NUMBERS:
            findings.append("No mask file has a value above 50; every value above 0 is read as foreground.")
    return [
        replace(reference, source=replace(reference.source, encoding=encoding))
        if isinstance(reference.source, MaskFile)
        else reference
        for reference in references
    ]
