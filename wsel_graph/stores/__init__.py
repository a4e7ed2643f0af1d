"""Where tensors live: in memory, in files, in folders. Teachers are read from sources, a part at a time."""

from wsel_graph.stores.memory import MemorySource
from wsel_graph.stores.opening import Teacher, open_source
from wsel_graph.stores.source import TensorInfo, TensorSource

__all__ = ["MemorySource", "Teacher", "TensorInfo", "TensorSource", "open_source"]
