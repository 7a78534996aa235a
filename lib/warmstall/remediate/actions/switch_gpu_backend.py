"""switch-gpu-backend: let another backend drive the GPU: CUDA, ROCm or Vulkan.

A GPU can be driven by its vendor's backend or by Vulkan. Vulkan on an AMD GPU that ROCm supports can be several times
slower, or stand still without an error; where ROCm does not support a GPU, Vulkan is much faster than the processor.
This sets the variables that make one of them serve (OLLAMA_VULKAN, what hides devices, OLLAMA_IGPU_ENABLE,
HSA_OVERRIDE_GFX_VERSION), restarts the service, and asks the same small requests before and after. It is taken back
when the model falls to the processor, when the wanted backend does not serve, or when answers do not come faster. It
installs nothing and removes nothing; an nvidia-smi on a machine without an NVIDIA GPU is named, with its commands.

Sources: https://docs.ollama.com/gpu; OLLAMA_VULKAN from 0.12.11 (opt-in) and 0.30.0 (on), by Ollama's tags.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ...errors import CannotTell
from ...parse.ollama_settings import fault
from ...parse.plain_text import printable
from ..services.canary import beyond_spread, canary_measures, canary_model, fell
from ..services.service import change_service, settings_now
from ..step import Action, Measures, Precondition, Verified
from ..target import Target
from .backends import BACKENDS, Gpus, ghost, gpus_seen, serving
from .context_fit import gpu_share, numbers_of

SETTINGS: dict[str, Any] = {
    "backend": "", "model": "", "gfx_override": "", "must_be_faster": True, "tries": 5, "deadline_s": 120.0,
}  # fmt: skip
RECORDING = "vulkan"

_HAS_VULKAN, _HAS_IGPU_RULE = (0, 12, 11), (0, 30, 0)
_NEEDS = {"cuda": "NVIDIA", "rocm": "AMD"}
# What hides the devices of a backend when it is -1 (https://docs.ollama.com/gpu).
_VISIBLE = {
    "cuda": ("CUDA_VISIBLE_DEVICES",), "rocm": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    "vulkan": ("GGML_VK_VISIBLE_DEVICES",),
}  # fmt: skip
_HIDING = ("-1", "none", "NoDevFiles")


def build(target: Target, settings: Mapping[str, Any]) -> Action:
    """What would let the wanted backend serve. Raises CannotTell where nothing shows which one does."""
    version = target.version()
    if not version:
        raise CannotTell("The server does not answer /api/version: which variables it reads is not known.")
    if target.host.system == "Darwin":
        raise CannotTell("On macOS Metal alone drives the GPU: there is nothing to switch.")
    gpus, environment = gpus_seen(target), settings_now(target)
    wanted, why = _wanted(gpus, environment, str(settings["backend"]).strip().lower())
    told = [Precondition("backend in force", "met", _seen_text(gpus))]
    told += _possible(gpus, version, wanted, why, str(settings["gfx_override"]))
    if path := ghost(target, gpus):
        told.append(Precondition("ghost tool", "met", _ghost_text(path)))
    variables = _variables(gpus, environment, version, wanted, str(settings["gfx_override"])) if wanted else {}
    serves = bool(wanted) and gpus.in_force == wanted
    if serves:
        told.append(Precondition("another backend serves", "not needed", f"{_title(wanted)} serves already."))
    states = {one.state for one in told}
    # Where it serves by our variables, a run that was cut short goes on; on any other server these change nothing.
    ours = all(environment.get(name) == value for name, value in variables.items())
    acts = bool(variables) and (states <= {"met"} or (states <= {"met", "not needed"} and ours))
    model = canary_model(target, str(settings["model"]).strip())
    return Action(
        f"{_title(wanted)} is to serve." if wanted else "No backend is to be switched.", tuple(told),
        change_service(target, "switch-gpu-backend", variables) if acts else (),
        measure=lambda there: _measures(there, model, wanted, settings),
        helped=lambda before, after: _helped(before, after, wanted, bool(settings["must_be_faster"])),
        afterwards=(
            "Watch size_vram in /api/ps, the rate of hangs, and the line `inference compute` at the next start.",
            "Take this back when a version of Ollama or of the driver supports the GPU's own backend again.",
            *((_ghost_text(path),) if path else ()),
        ),
    )  # fmt: skip


def _wanted(gpus: Gpus, environment: Mapping[str, str], given: str) -> tuple[str, str]:
    """The backend to switch to, and why; empty where nothing suggests one."""
    if given:
        wrong = f"backend {given[:20]!r}: expected cuda, rocm or vulkan"
        return (given, "as was asked") if given in BACKENDS else ("", wrong)
    hidden = "igpu_dropped" in gpus.drops or any(
        environment.get(name, "").strip() in _HIDING for name in _VISIBLE.get(gpus.native, ())
    )
    if gpus.in_force == "vulkan" and hidden:
        return "vulkan", "it serves, and the GPU's own backend is hidden on purpose: to try that, give backend"
    if gpus.in_force == "cpu" and gpus.vendors and not hidden:
        return "vulkan", "the GPU is there, and its own backend did not find it at this start"
    if gpus.native:
        return gpus.native, "it is the backend of the GPU's vendor"
    return "", "nothing shows a GPU of NVIDIA or AMD, or there are both: give backend"


def _possible(gpus: Gpus, version: str, wanted: str, why: str, gfx_override: str) -> list[Precondition]:
    """Whether this machine and this version can do it."""
    name = f"{_title(wanted)} can serve" if wanted else "a backend is wanted"
    if not wanted:
        return [Precondition(name, "not met" if "expected" in why else "cannot tell", f"{why}.")]
    if gfx_override and (wrong := fault("HSA_OVERRIDE_GFX_VERSION", gfx_override)):
        return [Precondition(name, "not met", f"gfx_override: {wrong}.")]
    if wanted == "vulkan" and numbers_of(version) < _HAS_VULKAN:
        return [Precondition(name, "not met", f"Ollama {printable(version)[:20]} has no Vulkan: it came with 0.12.11.")]
    if "rocm_denied" in gpus.drops and wanted in ("rocm", "vulkan"):
        told = ("The server may not open the AMD GPU, and no variable changes that: put its user into the groups of "
                "/dev/kfd and /dev/dri: usermod -aG render,video ollama")  # fmt: skip
        return [Precondition(name, "not met", told)]
    vendor = _NEEDS.get(wanted)
    seen = ", ".join(sorted(gpus.vendors)) or "no GPU"
    if vendor and vendor not in gpus.vendors:
        told = f"{_title(wanted)} drives GPUs of {vendor}; the kernel's PCI list and the log show {seen}."
        return [Precondition(name, "not met" if gpus.kernel_is_read else "cannot tell", told)]
    if not gpus.vendors and not gpus.nodes:
        return [Precondition(name, "cannot tell", "Neither the kernel nor the log shows a GPU: lspci tells which there "
                             "is.")]  # fmt: skip
    return [Precondition(name, "met", f"{_title(wanted)}: {why}; the GPU is of {seen if gpus.vendors else 'others'}.")]


def _variables(
    gpus: Gpus, environment: Mapping[str, str], version: str, wanted: str, gfx_override: str
) -> dict[str, str | None]:
    """What makes this backend serve: it is shown, the others that could take the GPU are hidden."""
    variables: dict[str, str | None] = {}
    if numbers_of(version) >= _HAS_VULKAN:
        variables["OLLAMA_VULKAN"] = "1" if wanted == "vulkan" else "0"
    if wanted == "vulkan":
        # A GPU that both can drive goes to its own backend, unless that sees none.
        hides = {"NVIDIA": "CUDA_VISIBLE_DEVICES", "AMD": "ROCR_VISIBLE_DEVICES"}
        variables.update({hides[vendor]: "-1" for vendor in sorted(gpus.vendors) if vendor in hides})
    for name in _VISIBLE[wanted]:
        if environment.get(name, "").strip() in _HIDING:
            variables[name] = None
    library = environment.get("OLLAMA_LLM_LIBRARY", "")
    if library and not library.startswith(wanted):
        variables["OLLAMA_LLM_LIBRARY"] = None
    if "igpu_dropped" in gpus.drops and numbers_of(version) >= _HAS_IGPU_RULE:
        variables["OLLAMA_IGPU_ENABLE"] = "1"
    if wanted == "rocm" and gfx_override:
        variables["HSA_OVERRIDE_GFX_VERSION"] = gfx_override
    return variables


def _measures(target: Target, model: str, wanted: str, settings: Mapping[str, Any]) -> Measures:
    measured = canary_measures(target, model, int(settings["tries"]), float(settings["deadline_s"]))
    share = gpu_share(target, model) if model else None
    now = serving(target)
    return {**measured, "share_on_gpu": round(share, 4) if share is not None else None,
            "wanted_backend_serves": float(now == wanted) if now else None}  # fmt: skip


def _helped(before: Measures, after: Measures, wanted: str, must_be_faster: bool) -> Verified:
    """Not ok where the GPU was lost, where the wanted backend does not serve, or where it is no faster."""
    if after["wanted_backend_serves"] == 0.0:
        return Verified(False, f"{_title(wanted)} does not serve after the restart.")
    was, is_now = before.get("share_on_gpu"), after["share_on_gpu"]
    if is_now == 0.0:
        return Verified(False, "The model is on the processor after the switch.")
    if failed := fell(before, after):
        return failed
    # A hundredth is less than a layer of most models.
    if was is not None and is_now is not None and is_now < was - 0.01:
        return Verified(False, f"{is_now:.0%} of the model are on the GPU, before it was {was:.0%}.")
    faster = beyond_spread(before, after, "decode")
    rates = _rates_text(before, after)
    if faster == -1:
        return Verified(False, f"Answers are slower: {rates}.")
    answered = (before.get("success_rate") or 0.0) < (after["success_rate"] or 0.0)
    if faster == 1 or answered or (was == 0.0 and is_now):
        return Verified(True, f"{_title(wanted)} serves: {rates}.")
    if faster is None:
        return Verified(
            None, f"{_title(wanted)} serves; no requests were compared, since no model was in memory or named."
        )
    if must_be_faster:
        return Verified(False, f"Answers are not faster beyond their spread: {rates}.")
    return Verified(True, f"{_title(wanted)} serves, as fast as before: {rates}.")


def _rates_text(before: Measures, after: Measures) -> str:
    was, is_now = before.get("decode_tokens_per_s"), after.get("decode_tokens_per_s")
    return f"{is_now or 0:.1f} tokens/s" + (f", before {was:.1f}" if was is not None else "")


def _seen_text(gpus: Gpus) -> str:
    drops = f" Since the start, {gpus.drops_text}." if gpus.drops else ""
    return f"{_title(gpus.in_force)} serves, by {gpus.said}.{drops}"


def _ghost_text(path: str) -> str:
    shown, quoted = printable(path), shlex.quote(printable(path))
    return (
        f"{shown} is there, but no NVIDIA GPU: installers take this machine for an NVIDIA one. `dpkg -S {quoted}` (or "
        f"`rpm -qf {quoted}`) names its package: remove that, then run Ollama's installer again."
    )


def _title(backend: str) -> str:
    return {"cuda": "CUDA", "rocm": "ROCm", "vulkan": "Vulkan", "cpu": "The processor"}.get(backend, backend[:40])
