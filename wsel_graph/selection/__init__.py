"""Selection rules: what the user wants, in YAML.

`rules.read_rules` gives a `RuleFile`; matching and planning ask its selectors about `Subject`s. The names here are
plain data: who only plans or applies does not load a YAML parser.
"""

from wsel_graph.selection.model import ComponentRule as ComponentRule
from wsel_graph.selection.model import ElementRule as ElementRule
from wsel_graph.selection.model import LayerRule as LayerRule
from wsel_graph.selection.model import RuleFile as RuleFile
from wsel_graph.selection.model import Score as Score
from wsel_graph.selection.model import TokenMap as TokenMap
from wsel_graph.selection.model import ValueRule as ValueRule
from wsel_graph.selection.selector import Selector as Selector
from wsel_graph.selection.source import Place as Place
from wsel_graph.selection.subject import Subject as Subject
