"""Published scores on RRSIS-D and RefSegRS as data: numbers as printed, where they were seen, how they were scored.

Nothing here was run again. Rows are copied from paper to paper, and the protocols behind them differ: a row whose
scoring was not seen says so, and none is a row of our own scoring protocols.
"""

from __future__ import annotations

from dataclasses import dataclass

from s4eca.data.layouts.published import REFSEGRS_COUNTS, RRSISD_COUNTS
from s4eca.errors import ConfigError
from s4eca.evaluation.overlap import CUTS

COLUMNS = (*(f"P@{cut}" for cut in CUTS), "oIoU", "mIoU")

_RS2_1 = "RS2-SAM2 Table 1 (arXiv 2503.07266)"
_RS2_2 = "RS2-SAM2 Table 2 (arXiv 2503.07266)"
_DICOR_1 = "DiCoR Table I"
_DICOR_3 = "DiCoR Table III (its gIoU is oIoU)"

_UNKNOWN = "scoring not seen"
# What the code of a method does, where it was read.
_SCORING = {
    "LAVT": "lavt at 480 px",
    "RMSIN": "lavt at 480 px",
    "FIANet": "lavt at 480 px",
    "RS2-SAM2": "lavt at 1024 px",
    "LGCE": "lavt at 480 px (its code prints an oIoU one point lower than it returns)",
    "DiCoR": "lavt with I / (U + 1e-6)",
    "SegEarth-R1": "its own: letterbox of 1024 px, IoU > X, two empty masks are worth 1",
    "RSRefSeg": "its own: native size, IoU > X, checkpoint chosen on the test split",
    "RSRefSeg2": "its own: native size, IoU > X, checkpoint chosen on the test split",
}

# Method: P@0.5 to P@0.9, oIoU, mIoU in percent; a dash where the source has none.
_RRSISD_VAL = """
RRN: 51.09 42.47 33.04 20.80 6.14 66.53 46.06
CMSA: 55.68 48.04 38.27 26.55 9.02 69.68 48.85
LSCM: 57.12 48.04 37.87 26.37 7.93 69.28 50.36
CMPC: 57.93 48.85 38.50 25.28 9.31 70.15 50.41
BRINet: 58.79 49.54 39.65 28.21 9.19 70.73 51.14
CMPC+: 59.19 49.36 38.67 25.91 8.16 70.14 51.41
LGCE: 68.10 60.52 52.24 42.24 23.85 76.68 60.16
RIS-DMMI: 70.40 63.05 54.14 41.95 23.85 77.01 60.72
LAVT: 69.54 63.51 53.16 43.97 24.25 77.59 61.46
EVF-SAM: 73.51 67.87 58.33 46.15 25.92 76.32 64.03
RMSIN: 74.66 68.22 57.41 45.29 24.43 78.27 65.10
RS2-SAM2: 79.25 74.08 63.85 50.57 30.40 80.16 68.81
"""
_RRSISD_TEST = """
RRN: 51.07 42.11 32.77 21.57 6.37 66.43 45.64
CMSA: 55.32 46.45 37.43 25.39 8.15 69.39 48.54
LSCM: 56.02 46.25 37.70 25.28 8.27 69.05 49.92
CMPC: 55.83 47.40 36.94 25.45 9.19 69.22 49.24
BRINet: 56.90 48.77 39.12 27.03 8.73 69.88 49.65
CMPC+: 57.65 47.51 36.97 24.33 7.78 68.64 50.24
LGCE: 67.65 61.53 51.45 39.62 23.33 76.34 59.37
RIS-DMMI: 68.74 60.96 50.33 38.38 21.63 76.20 60.12
LAVT: 69.52 63.63 53.29 41.60 24.94 77.19 61.04
EVF-SAM: 72.16 66.50 56.59 43.92 25.48 76.77 62.75
RMSIN: 74.26 67.25 55.93 42.55 24.53 77.79 64.20
FIANet: 74.46 66.96 56.31 42.83 24.13 76.91 64.01
RS2-SAM2: 77.56 72.34 61.76 47.92 29.73 78.99 66.72
"""
_RRSISD_TEST_DICOR = """
CrossVLT: 70.38 63.83 52.86 42.11 25.02 76.32 61.00
CroBIM: 74.58 67.57 55.59 41.63 23.56 75.99 64.46
CADFormer: 74.20 67.62 55.59 42.37 23.59 77.26 63.77
LSCF: 74.30 67.69 56.32 43.08 25.67 77.42 64.25
RSRefSeg: 74.49 68.33 58.73 48.50 30.80 77.24 64.67
SBANet: 75.91 - 57.05 - 25.38 79.22 65.52
BTDNet: 75.93 69.92 59.29 46.25 27.46 79.23 66.04
SegEarth-R1: 76.96 - - - - 78.01 66.40
MCD-Net: 75.58 68.74 57.51 44.15 25.97 78.14 65.05
CroBIM-U: 75.60 67.68 56.47 42.57 24.16 76.70 65.07
DiCoR: 78.23 71.78 64.01 48.57 30.16 79.45 66.94
"""
_REFSEGRS_VAL = """
BRINet: 36.86 35.53 19.93 10.66 2.84 61.59 38.73
LSCM: 56.82 41.24 21.85 12.11 2.51 62.82 40.59
CMPC: 46.09 26.45 12.76 7.42 1.39 63.55 42.08
CMSA: 39.24 38.44 20.39 11.79 1.52 65.84 43.62
RRN: 55.43 42.98 23.11 13.72 2.64 69.24 50.81
EVF-SAM: 57.77 37.59 16.24 4.87 1.86 59.61 46.98
CMPC+: 56.84 37.59 20.42 10.67 2.78 70.62 47.13
CARIS: 68.45 47.10 25.52 14.62 3.71 75.79 54.30
CRIS: 53.13 36.19 24.36 11.83 2.55 72.14 53.74
LAVT: 80.97 58.70 31.09 15.55 4.64 78.50 61.53
RIS-DMMI: 86.17 74.71 38.05 18.10 3.25 74.02 65.72
LGCE: 90.72 86.31 71.93 32.95 10.21 83.56 72.51
RMSIN: 93.97 89.33 74.25 29.70 7.89 82.41 73.84
RS2-SAM2: 95.36 94.90 92.58 83.76 36.66 88.03 85.21
"""
_REFSEGRS_TEST = """
BRINet: 20.72 14.26 9.87 2.98 1.14 58.22 31.51
LSCM: 31.54 20.41 9.51 5.29 0.84 61.27 35.54
CMPC: 32.36 14.14 6.55 1.76 0.22 55.39 40.63
CMSA: 28.07 20.25 12.71 5.61 0.83 64.53 41.47
RRN: 30.26 23.01 14.87 7.17 0.98 65.06 41.88
EVF-SAM: 35.17 22.34 9.36 2.86 0.39 55.51 36.64
CMPC+: 49.19 28.31 15.31 8.12 2.55 66.53 43.65
CARIS: 45.40 27.19 15.08 8.87 1.98 69.74 42.66
CRIS: 35.77 24.11 14.36 6.38 1.21 65.87 43.26
LAVT: 51.84 30.27 17.34 9.52 2.09 71.86 47.40
RIS-DMMI: 63.89 44.30 19.81 6.49 1.00 68.58 52.15
LGCE: 73.75 61.14 39.46 16.02 5.45 76.81 59.96
RMSIN: 79.20 65.99 42.98 16.51 3.25 75.72 62.58
FIANet: 84.09 77.05 61.86 33.41 7.10 78.32 68.67
RS2-SAM2: 84.31 79.42 70.89 55.70 21.19 80.87 73.90
"""
_REFSEGRS_TEST_DICOR = """
CrossVLT: 71.16 58.28 34.51 16.35 5.06 77.44 58.84
CroBIM: 75.89 61.42 34.07 12.99 2.75 72.33 59.77
DANet: 76.61 64.59 42.72 18.29 8.04 79.53 62.14
SBANet: 77.02 - 44.15 - 8.97 79.86 62.73
BTDNet: 83.60 75.07 62.69 34.40 9.14 80.57 67.95
SegEarth-R1: 86.30 79.53 69.57 48.87 10.73 79.00 72.45
RSRefSeg2: 88.22 82.99 73.97 60.92 34.40 81.24 77.39
CroBIM-U: 76.68 62.54 34.81 13.50 3.26 73.81 60.08
MCD-Net: 85.64 79.75 69.68 50.41 14.42 81.23 72.68
SegEarth-R2: - - - - - - 74.80
DiCoR: 87.34 83.28 75.84 62.85 35.67 84.10 77.96
"""
_TABLES = {
    ("rrsisd", "val"): ((_RRSISD_VAL, _RS2_2),),
    ("rrsisd", "test"): ((_RRSISD_TEST, _RS2_2), (_RRSISD_TEST_DICOR, _DICOR_3)),
    ("refsegrs", "val"): ((_REFSEGRS_VAL, _RS2_1),),
    ("refsegrs", "test"): ((_REFSEGRS_TEST, _RS2_1), (_REFSEGRS_TEST_DICOR, _DICOR_1)),
}
# Name of a set, and how many references each split of it has.
SETS = {"rrsisd": ("RRSIS-D", RRSISD_COUNTS), "refsegrs": ("RefSegRS", REFSEGRS_COUNTS)}


@dataclass(frozen=True)
class PublishedRow:
    """What a paper prints of one method on one split.

    Attributes:
        method: its name.
        scores: P@0.5 .. P@0.9, oIoU, mIoU -> percent; None where the source has none.
        protocol: how it was scored, as far as its code was seen.
        source: the table it was seen in.
    """

    method: str
    scores: dict[str, float | None]
    protocol: str
    source: str


def published_rows(name: str, split: str) -> list[PublishedRow]:
    """The rows of one split, in the order of their tables.

    Raises:
        ConfigError: the set has no published rows for that split, or is unknown.
    """
    if name not in SETS:
        raise ConfigError(f"published is {name!r}; it must be one of {', '.join(SETS)}.")
    if (name, split) not in _TABLES:
        raise ConfigError(f"{SETS[name][0]} has no published rows of split {split!r}; there are some of val and test.")
    return [_row(line, source) for text, source in _TABLES[name, split] for line in text.strip().splitlines()]


def _row(line: str, source: str) -> PublishedRow:
    method, _, numbers = line.partition(": ")
    values = [None if word == "-" else float(word) for word in numbers.split()]
    scores = dict(zip(COLUMNS, values, strict=True))
    return PublishedRow(method, scores, _SCORING.get(method, _UNKNOWN), source)
