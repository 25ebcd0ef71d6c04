"""What the documents say: their examples run, their links lead somewhere, their commands exist."""

import re
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest

import workers.testing
from gateway.cli import main
from gateway.config import decode
from workers import Processor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)")
COMMAND = re.compile(r"acs-ingest ([a-z]+)")


def blocks(language: str) -> list[str]:
    """The code blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document):
    missing = [
        link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()
    ]

    assert [] == missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_exists(document):
    context = click.Context(main)

    named = set(COMMAND.findall(document.read_text()))

    assert set() == named - set(main.list_commands(context))


def test_every_command_stands_in_the_readme():
    context = click.Context(main)

    rows = "".join(line for line in README.splitlines() if line.startswith("| `acs-ingest"))

    assert [] == [name for name in main.list_commands(context) if name not in rows]


def test_the_processor_of_the_readme_does_what_it_says():
    [source] = blocks("python")
    names: dict[str, type[Processor]] = {}
    exec(source, names)

    processor = workers.testing.new_processor(names["Halve"])
    found = workers.testing.run(processor, np.full(640, 1000, "<i2"), rate=16000, block_ms=20)

    assert [500] * 640 == [int(sample) for block in found for sample in block.pcm]


def test_the_pool_of_the_readme_is_a_configuration():
    [source] = blocks("toml")

    config = decode(tomllib.loads(source))

    assert "quiet" in config.pools
