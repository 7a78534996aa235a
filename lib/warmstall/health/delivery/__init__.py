"""Who is told what a report found: each trouble once, when it gets worse, and when it is over."""

from .delivering import STATE, deliver
from .settings import AlertSettings, read_settings

__all__ = ["STATE", "AlertSettings", "deliver", "read_settings"]
