"""A data layout: a table with a line ``split,image,mask,expression`` for each expression."""

from pathlib import Path

from s4eca.data.mask_files import MaskFile
from s4eca.data.sample import Reference, ReferringDataset
from s4eca.errors import DataError
from s4eca.records import ReaderOption


class TableLayout:
    """A file table.csv beside the images."""

    title = "table"
    published = False
    writer = None
    options = {"separator": ReaderOption("text", "what stands between two columns (,)")}

    def recognises(self, root):
        return (root / "table.csv").is_file()

    def _rows(self, root, separator=","):
        if not self.recognises(root):
            raise DataError(f"{root} has no table.csv.")
        return [line.split(separator) for line in (root / "table.csv").read_text().splitlines()]

    def splits(self, root, **options):
        return {row[0] for row in self._rows(root, **options)}

    def open(self, root, split, **options):
        rows = [row for row in self._rows(root, **options) if row[0] == split]
        references = [
            Reference(str(number), root / image, said, split, MaskFile(root / mask))
            for number, (_, image, mask, said) in enumerate(rows)
        ]
        return ReferringDataset(Path(root).name, "table", root, split, tuple(references))
