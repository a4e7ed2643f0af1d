"""The algebra of axes, in pure Python."""

from wsel_graph.axes.expr import UNIT as UNIT
from wsel_graph.axes.expr import Atom as Atom
from wsel_graph.axes.expr import Axis as Axis
from wsel_graph.axes.expr import Concat as Concat
from wsel_graph.axes.expr import Product as Product
from wsel_graph.axes.expr import atoms as atoms
from wsel_graph.axes.expr import children as children
from wsel_graph.axes.expr import concat as concat
from wsel_graph.axes.expr import fixed as fixed
from wsel_graph.axes.expr import positions as positions
from wsel_graph.axes.expr import product as product
from wsel_graph.axes.expr import substitute as substitute
from wsel_graph.axes.notation import format_axes as format_axes
from wsel_graph.axes.notation import parse_axes as parse_axes
from wsel_graph.axes.restrict import restrict as restrict
from wsel_graph.axes.solver import AxisSolver as AxisSolver
from wsel_graph.axes.solver import Mark as Mark
from wsel_graph.axes.solver import Tie as Tie
from wsel_graph.axes.spacing import evenly_spaced as evenly_spaced
