"""Tables made from records; nothing here opens a model."""

from .collect.cells import Cells
from .formats.files import file_names, show, write
from .tables.engine.base import Table
from .tables.engine.build import build

__all__ = ["Cells", "Table", "build", "file_names", "show", "write"]
