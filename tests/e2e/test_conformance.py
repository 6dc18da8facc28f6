"""`docs/conformance.md` is what `contract.py` says, and each item has a test that exists."""

from contract import ITEMS, PAGE, lines


def test_the_page_is_not_stale_and_each_item_has_a_test():
    made = "\n".join(lines()) + "\n"
    assert PAGE.read_text() == made, "run target/e2e-venv/bin/python tests/e2e/contract.py"


def test_items_are_named_once_and_in_order():
    names = [item[0] for item in ITEMS]
    order = {letter: number for number, letter in enumerate("TFBIREGS")}
    assert names == sorted(set(names), key=lambda name: (order[name[0]], name))
