"""Attention: what each position takes from other positions, by how well they agree."""

from cornu.layers.attention.grouped_query import GroupedQueryAttention
from cornu.layers.attention.multi_head import MultiHeadAttention
from cornu.layers.attention.weightless import AdditiveAttention, Attention

__all__ = ["AdditiveAttention", "Attention", "GroupedQueryAttention", "MultiHeadAttention"]
