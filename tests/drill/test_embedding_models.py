"""The models that embed give vectors as long as those of the models of their names, on every version and runner."""

from __future__ import annotations

import math
from pathlib import Path

import httpx
import pytest

from warmstall.drill.eras import ERAS
from warmstall.drill.server_process import DrillServer

LENGTHS = {"all-minilm": 384, "nomic-embed-text": 768, "embed": 256}
# The longest chunk of a document, in words that no vocabulary has.
TEXTS = ["what is a warm stall", "Zyx8#§ßq" * 75]


@pytest.mark.parametrize("runner", ["synthetic", "llama"])
@pytest.mark.parametrize("version", ERAS)
def test_vectors_have_the_length_that_their_model_says(version: str, runner: str, tmp_path: Path) -> None:
    if runner == "llama":
        pytest.importorskip("xllamacpp", reason="llama.cpp is not installed (extra `drill`)")
        pytest.importorskip("gguf", reason="the writer of models is not installed (extra `drill`)")
    with (
        DrillServer(tmp_path, version, runner=runner) as server,
        httpx.Client(trust_env=False, verify=False, timeout=30) as http,
    ):
        listed = {model["name"] for model in http.get(f"{server.url}/api/tags").json()["models"]}
        for model, length in LENGTHS.items():
            answer = http.post(f"{server.url}/api/embed", json={"model": model, "input": TEXTS}).json()
            shown = http.post(f"{server.url}/api/show", json={"model": model}).json()["model_info"]
            vectors = answer["embeddings"]
            assert [len(vector) for vector in vectors] == [length] * len(TEXTS)
            assert shown["llama.embedding_length"] == length
            assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-3)
            assert f"{model}:latest" in listed
            assert answer["prompt_eval_count"] > len(TEXTS)
