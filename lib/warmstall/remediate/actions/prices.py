"""What 1,000 answered calls cost; a price of 0 is a price that nobody has given, and then the cost is not known."""

from __future__ import annotations


def cost_on_a_machine(price_per_hour: float, calls_per_day: float | None, hang_rate: float) -> float | None:
    """On a machine that is paid by the hour, busy or not. Calls that hang are paid for too.

    >>> round(cost_on_a_machine(2.0, 4800, 0.2), 2)
    12.5
    """
    if price_per_hour <= 0 or not calls_per_day or hang_rate >= 1:
        return None
    return 24 * price_per_hour / calls_per_day * 1000 / (1 - hang_rate)


def cost_of_an_api(
    price_per_million_input: float, price_per_million_output: float, input_tokens: float | None,
    output_tokens: float | None,
) -> float | None:  # fmt: skip
    """Of an API that is paid by the token.

    >>> cost_of_an_api(1.0, 4.0, 2000, 500)
    4.0
    """
    if price_per_million_input + price_per_million_output <= 0 or input_tokens is None or output_tokens is None:
        return None
    per_call = input_tokens * price_per_million_input + output_tokens * price_per_million_output
    return per_call / 1e6 * 1000
