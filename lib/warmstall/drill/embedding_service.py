"""An embedding service beside Ollama: two workers of uvicorn that may be crashed, with vectors of hashed words.

    python -m warmstall.drill.embedding_service PORT

Its vectors are lexical: texts with the same words are near each other, and nothing is learned.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..rag.embedders.hashed_words import embed

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_DIMENSIONS = 128
_PARENT = "WARMSTALL_DRILL_SUPERVISOR"


async def _embed(request: Request) -> Response:
    from starlette.responses import JSONResponse

    texts = (await request.json())["texts"]
    dimensions = int(request.path_params.get("dimensions", _DIMENSIONS))
    return JSONResponse({"kind": "lexical", "vectors": [embed(str(text), dimensions) for text in texts]})


def app() -> object:
    """The application of one worker, which ends with its supervisor."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    from .processes import die_with_parent

    if parent := os.environ.get(_PARENT):
        die_with_parent(int(parent))
    paths = ("/embed", "/embed/{dimensions:int}")
    return Starlette(routes=[Route(path, _embed, methods=["POST"]) for path in paths])


def main() -> None:
    import uvicorn

    from .processes import die_with_parent, show_title

    port, parent_pid = int(sys.argv[1]), int(sys.argv[2])
    die_with_parent(parent_pid)
    show_title(f"/usr/local/bin/uvicorn embedding_service:app --host 127.0.0.1 --port {port} --workers 2", "uvicorn")
    os.environ[_PARENT] = str(os.getpid())
    # The dump of a worker that dies tells its signal; uvicorn alone says only that it died.
    os.environ["PYTHONFAULTHANDLER"] = "1"
    uvicorn.run(f"{__spec__.name}:app", factory=True, host="127.0.0.1", port=port, workers=2)


if __name__ == "__main__":
    main()
