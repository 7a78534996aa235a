"""Words that give nobody away: what logs are made of, accounts of services, hosts that everybody knows."""

from __future__ import annotations

import re
from functools import cache

from ..parse.log_events import EVENTS, FAMILIES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Accounts that every machine has, or every image of one; a home of such a name says nothing about a person.
ACCOUNTS = _words(
    "root admin administrator user users guest nobody daemon system service services ollama llama chroma chromadb "
    "docker containerd podman www-data nginx postgres redis mysql git jenkins runner runneradmin gitlab-runner ubuntu "
    "debian fedora centos rocky alma arch ec2-user azureuser core opc cloud-user vagrant pi codespace coder jovyan "
    "app appuser node python linuxbrew homebrew shared public default all defaultuser0 containeradministrator "
    "systemd-network systemd-resolve systemd-timesync messagebus polkitd sshd syslog kernel localadmin test demo "
    "nixbld noreply no-reply mailer-daemon postmaster true false none null"
)
# Names of services in compose files and examples.
SERVICES = _words(
    "localhost ollama ollama-server llama llama-server server api app web backend frontend proxy nginx traefik caddy "
    "gateway chroma chromadb qdrant weaviate milvus redis valkey postgres postgresql mysql mariadb mongo mongodb "
    "rabbitmq kafka minio litellm vllm tgi embedder embeddings embedding reranker open-webui openwebui webui langfuse "
    "jaeger prometheus grafana loki otel-collector collector host worker db database cache queue localhost4 localhost6 "
    "ip6-localhost example"
)
# Where models, packages and documentation come from, and what stands for "this machine".
PUBLIC_HOSTS = frozenset((
    "localhost", "localdomain", "docker.internal", "containers.internal", "ollama.ai", "ollama.com", "ollama.org",
    "huggingface.co", "hf.co", "hf.space", "github.com", "githubusercontent.com", "githubassets.com", "github.io",
    "gitlab.com", "bitbucket.org", "docker.io", "docker.com", "ghcr.io", "quay.io", "nvcr.io", "k8s.io",
    "kubernetes.io",
    "cloudflarestorage.com", "nvidia.com", "amd.com", "intel.com", "apple.com", "microsoft.com", "mozilla.org",
    "python.org", "pytorch.org", "golang.org", "go.dev",
    "debian.org", "ubuntu.com", "fedoraproject.org", "redhat.com", "archlinux.org", "kernel.org", "freedesktop.org",
    "systemd.io", "w3.org", "json-schema.org", "pydantic.dev", "lmstudio.ai", "openai.com",
    "anthropic.com", "googleapis.com", "google.com", "gcr.io", "modelscope.cn", "wikipedia.org", "stackoverflow.com",
    "readthedocs.io", "trychroma.com", "langchain.com", "litellm.ai", "apache.org", "gnu.org", "slack.com",
))  # fmt: skip
# Words of error messages and of settings that may stand where a secret would.
_PROSE = _words(
    "unexpected expected authentication authorization authorized unauthorized incorrect mismatch malformed rejected "
    "forbidden required optional provided specified configured ignored generated changed change changeme please "
    "enter password passwords passwd secret secrets token tokens credential credentials bearer basic digest negotiate "
    "login logout signin session cookie header headers value values string integer number object array boolean "
    "parameter parameters argument arguments option options field fields index register registry manifest digest "
    "windows darwin android macos macbook desktop laptop workstation computer machine guest home house local remote "
    "master primary replica standby leader follower production staging development testing release debug verbose info "
    "warning critical notice trace monday tuesday wednesday thursday friday saturday sunday january february march "
    "april june july august september october november december hello world welcome what when where which while with "
    "without would should could this that these those there their them they your yours mine about above below under "
    "over into onto then than some same such only very just like will want need make made take tell give text answer "
    "question summary document documents report ticket user users assistant system human people person mark"
)


@cache
def log_words() -> frozenset[str]:
    """The words that Ollama's own lines are made of, and those that stand in any program's.

    >>> {"runner", "llama", "embedding", "root"} <= log_words(), "alice" in log_words()
    (True, False)
    """
    samples = " ".join([*(event.sample for event in EVENTS), *(family.sample for family in FAMILIES)]).lower()
    return frozenset(re.findall(r"[a-z][a-z0-9-]{2,}", samples)) | ACCOUNTS | SERVICES | _PROSE


def is_common(word: str) -> bool:
    """Whether replacing this word wherever it stands would take more than a secret away.

    >>> is_common("Llama"), is_common("k9-Vq")
    (True, False)
    """
    return word.lower() in log_words()


def is_public_host(name: str) -> bool:
    """Whether everybody may know this host: a registry, a vendor, this machine itself.

    >>> is_public_host("registry.ollama.ai"), is_public_host("chroma"), is_public_host("gpu7.example.com")
    (True, True, False)
    """
    labels = name.lower().rstrip(".").split(".")
    return name.lower() in SERVICES or any(".".join(labels[at:]) in PUBLIC_HOSTS for at in range(len(labels)))
