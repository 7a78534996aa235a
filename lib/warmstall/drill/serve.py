"""The server process: `python -m warmstall.drill.serve --version 0.13.5`, with OLLAMA_* in its environment."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..errors import InputError
from .api import Api
from .connection import AccessLog
from .eras import DEFAULT_VERSION, ERAS, Era
from .gpu import SimulatedGpu, gpu_fields
from .inference import Inference
from .log_fields import host_fields
from .models import MODELS
from .openai_api import OpenAiApi
from .processes import die_with_parent, show_title
from .runner import PROGRAMS, free_port
from .scheduler import Scheduler
from .server_log import ServerLog
from .settings import Settings, environment_text, subprocess_environment
from .wording import Wording

# Streams whose runner was ended say so to their clients, and in the log.
_LAST_WORDS_S = 0.05


class _Server(uvicorn.Server):
    """uvicorn without its own signals: SIGTERM ends the drill as it ends Ollama, without waiting for requests."""

    def capture_signals(self):  # type: ignore[no-untyped-def]
        return contextlib.nullcontext()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default=DEFAULT_VERSION, choices=list(ERAS))
    parser.add_argument("--runner", default="synthetic", choices=list(PROGRAMS))
    parser.add_argument("--timetable")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--gpu", help="a simulated card: LIBRARY:NAME:GIB")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parent", type=int, default=0, help="process with which to end; 0: none")
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    show_title("/usr/local/bin/ollama serve", "ollama")
    era = ERAS[options.version]
    try:
        settings = Settings.read(os.environ, era, SimulatedGpu.read(options.gpu))
        listener = _listen(settings)
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if options.runner == "llama":
        _write_models(Path(settings.models_folder) / "blobs")
    asyncio.run(_serve(settings, era, listener, options))
    return 0


def _write_models(blobs: Path) -> None:
    """Real inference needs a file for each model: one random model, under the names of all that write text.

    Those that embed have one each, as wide as their vectors are long.
    """
    from .random_gguf import EMBEDDING_LENGTH, random_gguf

    for model in MODELS.values():
        if not model.broken and not (blobs / model.blob).exists():
            made = random_gguf(blobs, width=model.n_embd if model.embedding else EMBEDDING_LENGTH)
            (blobs / model.blob).symlink_to(made.name)


def _listen(settings: Settings) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = "address already in use" if error.errno == 98 else str(error.strerror)
        raise OSError(f"listen tcp {settings.host}:{settings.port}: bind: {reason}") from None
    listener.listen(512)
    return listener


async def _serve(settings: Settings, era: Era, listener: socket.socket, options: argparse.Namespace) -> None:
    log = ServerLog(Wording(era.version), settings.debug)
    scheduler = Scheduler(settings, era, log, options.runner, options.timetable, options.seed)
    inference = Inference(settings, era, log, scheduler)
    api = Api(inference)
    app = Starlette(
        routes=[*api.routes(), *OpenAiApi(api).routes()], exception_handlers={404: _no_page, 405: _no_method}
    )
    log.say("start", **_start_fields(settings, era))
    scheduler.start()
    config = uvicorn.Config(AccessLog(app, log, options.truth), log_config=None, access_log=False, lifespan="off",
                            timeout_graceful_shutdown=0)  # fmt: skip
    logging.getLogger("uvicorn.error").disabled = True  # the log is Ollama's; AccessLog says what went wrong
    server = _Server(config)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.wait({serving, asyncio.ensure_future(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await scheduler.shut_down()
    await asyncio.sleep(_LAST_WORDS_S)
    # Ollama's process just ends: whoever still waits for a model gets no answer, and no line in the log.
    os._exit(0)


def _start_fields(settings: Settings, era: Era) -> dict[str, object]:
    sound = [model for model in MODELS.values() if not model.broken]
    return {
        **host_fields(), **gpu_fields(settings.gpu), "env": environment_text(settings, era),
        "host_port": f"{settings.host}:{settings.port}",
        "version": era.version, "blob_count": 2 * len(sound), "model_count": len(sound),
        "discovery_port": free_port(), "subprocess_environment": subprocess_environment(era, settings),
        "no_cloud": "true",
        "recommendations_wait": "3h50m48.86647919s",
    }  # fmt: skip


async def _no_page(_: Request, __: Exception) -> Response:
    return PlainTextResponse("404 page not found", status_code=404)


async def _no_method(_: Request, __: Exception) -> Response:
    return PlainTextResponse("405 method not allowed", status_code=405)


if __name__ == "__main__":
    sys.exit(main())
