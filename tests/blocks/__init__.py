"""Building blocks of random architectures: real modules, written the many ways in which people write them."""

from tests.blocks.attention import ATTENTION_BLOCKS as ATTENTION_BLOCKS
from tests.blocks.base import Block as Block
from tests.blocks.images import IMAGE_BLOCKS as IMAGE_BLOCKS
from tests.blocks.tokens import TOKEN_BLOCKS as TOKEN_BLOCKS
from tests.blocks.weights import WEIGHT_BLOCKS as WEIGHT_BLOCKS
