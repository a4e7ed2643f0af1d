"""Selection rules: what the user wants, in YAML.

`read_rules` gives a `RuleFile`; matching and planning ask its selectors about `Subject`s.
"""

from wsel_graph.selection.json_schema import json_schema as json_schema
from wsel_graph.selection.model import ComponentRule as ComponentRule
from wsel_graph.selection.model import ElementRule as ElementRule
from wsel_graph.selection.model import LayerRule as LayerRule
from wsel_graph.selection.model import RuleFile as RuleFile
from wsel_graph.selection.model import Score as Score
from wsel_graph.selection.model import TokenMap as TokenMap
from wsel_graph.selection.rules import read_rules as read_rules
from wsel_graph.selection.selector import Selector as Selector
from wsel_graph.selection.source import Place as Place
from wsel_graph.selection.subject import Subject as Subject
