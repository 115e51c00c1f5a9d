"""The public names are the ones in `callboard.__all__`: sorted, all there, and nothing public beside them."""

from types import ModuleType

import callboard


def test_the_list_is_sorted_and_names_nothing_twice() -> None:
    assert list(callboard.__all__) == sorted(set(callboard.__all__))


def test_every_name_in_the_list_is_there() -> None:
    assert [name for name in callboard.__all__ if not hasattr(callboard, name)] == []


def test_every_public_name_is_in_the_list() -> None:
    public = {
        name
        for name, value in vars(callboard).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name not in ("Any", "TYPE_CHECKING")
    }
    assert sorted(public - set(callboard.__all__)) == []
