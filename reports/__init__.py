"""Tables made from records; nothing here opens a model."""

from .collect.cells import Cells
from .tables.base import Table
from .tables.build import build, file_names, show, write

__all__ = ["Cells", "Table", "build", "file_names", "show", "write"]
