"""Asking endpoints: whom to trust is known, and read only where it matters."""

from __future__ import annotations

import ssl

import pytest

from warmstall.ollama import trusted


@pytest.mark.parametrize("url", ["https://box/v1", "HTTPS://box", "//box", "box"])
def test_behind_https_certificates_are_checked(url):
    context = trusted(url)
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_where_nothing_is_encrypted_none_are_read():
    assert trusted("http://127.0.0.1:11434") is False
