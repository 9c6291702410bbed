import fractions
import re

import pytest

from games.core import Registry


def test_a_value_written_as_text_is_imported_when_it_is_looked_up() -> None:
    registry: Registry[type] = Registry("number", {"fraction": "fractions:Fraction", "float": float})
    assert registry.find("fraction") is fractions.Fraction
    assert list(registry) == ["fraction", "float"]


def test_a_name_is_taken_once_unless_it_is_to_be_replaced() -> None:
    registry = Registry("number", {"one": 1})
    with pytest.raises(ValueError, match="The number 'one' exists already"):
        registry.register("one", 2)
    registry.register("one", 2, replace=True)
    assert registry["one"] == 2


@pytest.mark.parametrize("name", ["", "Two", "two words", "two_words", "two-"])
def test_names_are_lower_case_and_hyphenated(name: str) -> None:
    with pytest.raises(ValueError, match="is lower case, its words joined by hyphens"):
        Registry("number").register(name, 2)


@pytest.mark.parametrize("name", ["ONE", "One", "oen"])
def test_the_nearest_name_is_suggested_whatever_its_case(name: str) -> None:
    with pytest.raises(ValueError, match=f"no number '{name}'. Did you mean 'one'"):
        Registry("number", {"one": 1, "seventeen": 17}).find(name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("oen", "There is no number 'oen'; did you mean 'one' or 'ones' (`count` lists all names)?"),
        ("ONE", "There is no number 'ONE'; did you mean 'one' (`count` lists all names)?"),
        ("", "There is no number ''; `count` lists all names."),
    ],
)
def test_names_that_a_command_lists_are_not_all_in_the_message(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        Registry("number", {"one": 1, "ones": 11, "seventeen": 17}, listed_by="count").find(name)
