"""docs/limits.md is true: it has every limit with its default, and its examples cost what it says."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from graphql import OperationDefinitionNode, parse

from app import main
from app.settings import Settings
from schema import Limits, build
from schema.cost import price

PAGE = (Path(__file__).parent.parent.parent / "docs" / "limits.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
]
SETTINGS = Settings.model_construct(**{name: field.default for name, field in Settings.model_fields.items()})


def number(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" s"))


@pytest.mark.parametrize(
    "row", [row for row in ROWS if re.fullmatch("`[A-Z_]+`", row[2])], ids=lambda row: row[0]
)
def test_a_setting_has_the_default_that_is_told(row: list[str]) -> None:
    name = row[2].strip("`").lower()

    assert Settings.model_fields[name].default == number(row[1])


def test_the_defaults_are_those_of_the_settings() -> None:
    assert main.limits(SETTINGS) == Limits()


def test_every_limit_has_its_row() -> None:
    told = {row[2].strip("`").lower() for row in ROWS}
    bounding = {name for name in Settings.model_fields if main.limits(altered(name)) != Limits()}

    assert len(bounding) == len(fields(Limits))
    assert bounding - {"introspection"} <= told
    assert "`INTROSPECTION=false`" in PAGE


def altered(name: str) -> Settings:
    """The settings with another value for one of them."""
    return SETTINGS.model_copy(update={name: not getattr(SETTINGS, name)})


def test_the_examples_cost_what_it_says() -> None:
    ((text, cost),) = re.findall(r"```graphql\n(.*?)```\n\ncosts (\d+)\.", PAGE, re.DOTALL)
    request, response = (json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[1:])

    assert cost_of(text) == int(cost)
    assert response["extensions"]["cost"] == {"requested": cost_of(request["query"]), "limit": Limits().cost}


def cost_of(text: str) -> int:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return price(build(Limits())._schema, document, operation).of({})
