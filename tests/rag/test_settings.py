"""What the settings say wrong is one sentence, and no part is built with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from warmstall.errors import ParameterError
from warmstall.rag.settings import StoreSettings, checked_settings, ollama_url


@pytest.mark.parametrize("given", ["localhost:abc", "::1", "host:99999", "ftp://x", "http://[::1"])
def test_an_address_of_ollama_that_is_none_is_one_sentence(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", given)
    with pytest.raises(ParameterError, match=r"OLLAMA_HOST is .*; expected a host and a port"):
        ollama_url()


def test_a_password_in_ollama_host_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://ann:hushed@host:abc")
    with pytest.raises(ParameterError, match="OLLAMA_HOST names a user or a password") as raised:
        ollama_url()
    assert "hushed" not in str(raised.value)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"store": {"timeout_s": float("inf")}}, "timeout_s is inf; expected a number of seconds"),
        ({"embedders": {"small": {"timeout_s": 0}}}, "timeout_s is 0"),
        ({"path": {"attempt_timeout_s": float("nan")}}, "attempt_timeout_s is nan"),
        ({"collections": [{"name": "faq"}, {"name": "faq"}]}, "'faq' stands there 2 times"),
        ({"store": {"url": "http://ann:hushed@h"}}, "url names a user or a password"),
    ],
)
def test_what_is_set_wrong_is_refused(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        checked_settings(said, "rag.toml")


def test_a_path_in_the_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert StoreSettings(path="~/k.duckdb").file() == tmp_path / "k.duckdb"
