from workers.errors import ConfigError


def test_configuration_error_leads_to_the_fault():
    fault = ConfigError("processors.level.window_ms", "Expected `int`, got `str`")

    assert "[processors.level] window_ms: Expected `int`, got `str`" == str(fault)
    assert "processors.level.window_ms" == fault.path
