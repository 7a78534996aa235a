"""Examples of `vector_store_mount`."""

import json

from hypotheses.example import Example, ServerLog

SERVER = ServerLog().start().load(5).request(10, 3.0).text()


def inspect(image: str, *destinations: str, env: tuple[str, ...] = ("PATH=/bin",), **mount: object) -> dict[str, str]:
    """What docker inspect says of a vector store with volumes at these directories."""
    mounts = [
        {"Type": "volume", "Source": "/var/lib/docker/volumes/store/_data", "Destination": path, "RW": True, **mount}
        for path in destinations
    ]
    document = {
        "Id": "ab" * 32, "Name": "/store", "RestartCount": 0, "Mounts": mounts,
        "Config": {"Image": image, "Env": list(env)}, "State": {"Status": "running", "OOMKilled": False},
        "HostConfig": {"Memory": 0},
    }  # fmt: skip
    return {"server.log": SERVER, "containers.json": json.dumps([document], indent=1)}


NEW, OLD = "chromadb/chroma:1.0.20", "chromadb/chroma:0.6.3"
POD = json.dumps({
    "kind": "Pod", "metadata": {"name": "store"},
    "spec": {"containers": [{"name": "chroma", "image": NEW}]}, "status": {"containerStatuses": []},
}, indent=1)  # fmt: skip

EXAMPLES = [
    Example(
        "chroma 1.0 with the volume of 0.6",
        "confirmed",
        inspect(NEW, "/chroma/chroma"),
        ("writes to /data, and none of its mounts (1) is there; mounted is /chroma/chroma",),
    ),
    Example("qdrant without a mount", "confirmed", inspect("qdrant/qdrant:v1.15.3"), ("mounted is nothing",)),
    Example(
        "only a file of settings is mounted", "confirmed", inspect("milvusdb/milvus:v2.4.1", "/milvus/milvus.yaml")
    ),
    Example("a volume at a place of one's own", "supported", inspect(NEW, "/vectors"), ("arguments",)),
    Example(
        "an anonymous volume",
        "supported",
        inspect("qdrant/qdrant", "/qdrant/storage", Source=f"/var/lib/docker/volumes/{'0a' * 32}/_data"),
        ("anonymous",),
    ),
    Example("chroma 1.0 with its volume", "ruled_out", inspect(NEW, "/data"), ("where something is mounted (1 of 1)",)),
    Example("chroma 0.6 with its volume", "ruled_out", inspect(OLD, "/chroma/chroma/")),
    Example("a mount above the directory", "ruled_out", inspect(OLD, "/chroma")),
    Example("moved by its setting", "ruled_out", inspect(OLD, "/vectors", env=("PERSIST_DIRECTORY=/vectors",))),
    Example("pgvector of PostgreSQL 18", "ruled_out", inspect("pgvector/pgvector:pg18", "/var/lib/postgresql")),
    Example(
        "the version is not told",
        "not_observable",
        inspect("chromadb/chroma:latest", "/chroma/chroma"),
        ("docker logs",),
    ),
    Example("a configuration of one's own", "not_observable", inspect(NEW, "/data", "/config.yaml")),
    Example("a variable that is not captured may move it", "not_observable", inspect("qdrant/qdrant", "/vectors")),
    Example("a pod, whose volumes were left out", "not_observable", {"pod.json": POD}, ("kubectl",)),
    Example("no container", "not_observable", {"server.log": SERVER}, ("docker inspect",)),
]
