"""An agent with two tools, for `backburner serve --app examples.agents:app` and `POST /v1/runs`."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
import trio

from backburner import App

app = App()


class Weather(msgspec.Struct):
    city: str
    celsius: float
    sky: str


@app.tool(idempotent=True, timeout_seconds=10)
async def weather(city: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]) -> Weather:
    """The weather in a city now. Asking twice does no harm, so a call that a crash cut short is made again."""
    await trio.sleep(0.05)  # where a real tool would ask a service
    drawn = hashlib.blake2b(city.lower().encode(), digest_size=2).digest()
    return Weather(city=city, celsius=drawn[0] % 40 - 5, sky=("clear", "cloudy", "rain")[drawn[1] % 3])


@app.tool(timeout_seconds=10)
def convert(amount: float, to: Literal["fahrenheit", "celsius"] = "fahrenheit") -> str:
    """A temperature in the other unit. A `def` runs in a thread. It says nothing of being idempotent: a call that a
    crash cut short is not made again, the model hears that its outcome is unknown."""
    if to == "fahrenheit":
        return f"{amount * 9 / 5 + 32:.1f} °F"
    return f"{(amount - 32) * 5 / 9:.1f} °C"
