"""All rules. New secret: add one row with its sample to the table that it belongs to, in the block of its like."""

from __future__ import annotations

from .rule import Rule
from .rules_people import PEOPLE
from .rules_secrets import SECRETS
from .rules_texts import TEXTS

RULES: tuple[Rule, ...] = (*SECRETS, *TEXTS, *PEOPLE)
