"""Tables of the configuration into structs: where msgspec's errors become ours."""

from typing import TypeVar

import msgspec

from workers.errors import ConfigError

Settings = TypeVar("Settings")


def convert(table: object, settings: type[Settings], path: str) -> Settings:
    """A TOML table as a struct. Raises `ConfigError` with the path to the fault."""
    try:
        return msgspec.convert(table, settings)
    except msgspec.ValidationError as fault:
        reason, _, place = str(fault).partition(" - at `$")
        raise ConfigError(path + place.rstrip("`"), reason) from fault
