"""What a shard finds, as it travels to the ingress: each row once, however many queries found it."""

from __future__ import annotations

import numpy as np

from visnet.platform.live_shard import LiveShard
from visnet.platform.merge import NO_ROW
from visnet.serve.messages import ShardAnswer, ShardQuery
from visnet.serve.row_json import RowJson


def answer(shard: LiveShard, rows: RowJson, query: ShardQuery, sequence: int) -> ShardAnswer:
    """What a shard finds for the searches of one filter."""
    hits = shard.search(query.query_QD, query.k, where=query.where, collapse_duplicates=query.collapse)
    valid_QK = hits.row_QK != NO_ROW
    found_F, position = np.unique(hits.row_QK[valid_QK], return_inverse=True)
    position_QK = np.full(hits.row_QK.shape, NO_ROW, np.int64)
    position_QK[valid_QK] = position
    return ShardAnswer(
        score_QK=hits.score_QK,
        position_QK=position_QK,
        products=rows.products(found_F),
        content_F=shard.content_keys_at(found_F),
        fields=rows.fields(found_F),
        vector_FD=shard.vectors_at(found_F).astype(np.float16) if query.with_vectors else None,
        sequence=sequence,
    )
