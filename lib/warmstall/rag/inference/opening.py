"""The inference that the settings ask for."""

from __future__ import annotations

from ...errors import ParameterError
from ..parts import Inference
from ..settings import InferenceSettings, ollama_url


def open_inference(settings: InferenceSettings, temperature: float = 0.15) -> Inference:
    """Ready to be asked. Raises StepFailed where it must choose a model and cannot, ParameterError for the settings.

    >>> open_inference(InferenceSettings(model="llama3.2", url="http://127.0.0.1:11434")).path
    '/api/chat'
    """
    if settings.kind == "ollama":
        from .ollama import OllamaInference

        url = settings.url or ollama_url()
        return OllamaInference(url, settings.model, settings.options, settings.keep_alive, temperature)
    if settings.kind == "openai":
        from .openai import OpenAIInference

        return OpenAIInference(settings.url, settings.model, settings.options, settings.api_key_variable, temperature)
    raise ParameterError(f"[inference] kind is {settings.kind!r}; expected ollama or openai.")
