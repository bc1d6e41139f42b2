"""Tables made from records; nothing here opens a model."""

from .cells import Cells
from .report import build, file_names, show, write
from .table import Table

__all__ = ["Cells", "Table", "build", "file_names", "show", "write"]
