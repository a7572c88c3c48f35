"""Texts out of Python source: the text Python itself would give, without running anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.fetching.literals import literal_text

SOURCE = '''
import os
os.abort()  # running this would end the process

HEAD = "one " + """two
three  
""" 'four'
SAME = HEAD
BOOK = {"plain": "p", 'joined': "a" "b", "named": HEAD, 3: "three", True: "true", "deep": [("x", "y")]}
LIST: list[str] = ["zero", f"ask {text_prompt!r} {{now}} {score:.2f} {a + b}", "two" + SAME]
STEPS = "a"
STEPS += "b"
TWICE = "1"
if os.name == "nt":
    TWICE = "2"
LOOP = LOOP
NUMBER = 4
CALLED = "x".upper()
TALK = Talk(system="be " "kind", roles=("A", "B"))


def prepare(device):
    PROMPTS = ["large", "still"]
    LOCAL = PROMPTS[1]

    def inner():
        HIDDEN = "hidden"

    return PROMPTS


class Config:
    template = "in a class"
'''


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("HEAD", "one two\nthree  \nfour"),
        ("SAME", "one two\nthree  \nfour"),
        ("BOOK['plain']", "p"),
        ('BOOK["joined"]', "ab"),
        ("BOOK['named']", "one two\nthree  \nfour"),
        ("BOOK[3]", "three"),
        ("BOOK['deep'][0][1]", "y"),
        ("LIST[0]", "zero"),
        ("LIST[-1]", "twoone two\nthree  \nfour"),
        ("LIST[1]", "ask {text_prompt!r} {now} {score:.2f} {a + b}"),
        ("PROMPTS[0]", "large"),
        ("prepare.PROMPTS[1]", "still"),
        ("prepare.LOCAL", "still"),
        ("prepare.inner.HIDDEN", "hidden"),
        ("Config.template", "in a class"),
        ("TALK['system']", "be kind"),
        ("TALK['roles'][1]", "B"),
    ],
)
def test_the_named_text(path: str, text: str) -> None:
    assert literal_text(SOURCE, path) == text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("NOTHING", "assigns 'NOTHING' 0 times"),
        ("STEPS", "assigned 2 times"),
        ("TWICE", "assigned 2 times"),
        ("LOOP", "stands for itself"),
        ("NUMBER", "not a fixed text in the source, but Constant"),
        ("CALLED", "not a fixed text in the source, but Call"),
        ("BOOK['none']", "no one entry 'none'"),
        ("BOOK[1]", "no one entry 1"),
        ("LIST[7]", "no one entry 7"),
        ("BOOK[os.name]", "not a fixed key"),
        ("prepare.NOTHING", "assigned 0 times"),
        ("absent.X", "0 functions or classes named 'absent'"),
        ("HEAD.upper()", "not a path of names"),
        ("HEAD[", "not Python"),
    ],
)
def test_what_is_no_fixed_text_is_refused(path: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        literal_text(SOURCE, path)


def test_source_that_is_not_python_is_refused() -> None:
    for source in ("<html>404</html>", "x = '\0'", "(" * 100_000):
        with pytest.raises(InputError, match="cannot be looked up"):
            literal_text(source, "X")


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_comes_back(text: str) -> None:
    assert literal_text(f"X = {{'k': [{text!r}]}}", "X['k'][0]") == text
