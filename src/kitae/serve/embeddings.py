"""/v1/embeddings, for models that were made for it. A language model's hidden states are no embedding, so it says so."""

from __future__ import annotations

import base64
from typing import Any

from kitae.core.i18n import t
from kitae.serve.completions import ids_of
from kitae.serve.errors import ApiError
from kitae.serve.requests import EmbeddingRequest
from kitae.serve.service import Model


def embedded(model: Model, asked: EmbeddingRequest) -> dict[str, Any]:
    embed = model.lane.engine.embed
    if embed is None:
        raise ApiError(400, t("serve.no-embeddings", name=model.name), "no_embeddings", "model")
    texts = [ids_of(model, text, "input") for text in asked.texts()]
    vectors = embed(texts)
    in_text = asked.encoding_format == "base64"
    found = [base64.b64encode(vector.tobytes()).decode() if in_text else vector.tolist() for vector in vectors]
    size = sum(map(len, texts))
    return {
        "object": "list",
        "model": model.name,
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(found)],
        "usage": {"prompt_tokens": size, "total_tokens": size},
    }
