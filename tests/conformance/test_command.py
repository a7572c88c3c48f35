"""``rewardbench plugins check``: what it prints and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rewardbench.cli.app import main
from rewardbench.conformance.kit import all_checks, examine
from rewardbench.conformance.plan import planned

ROOT = Path(__file__).resolve().parents[2]


def test_a_fault_is_exit_one_with_what_was_seen_wanted_and_to_do(package, capsys) -> None:
    name = package("reward", ('        citation="none: a test",\n', ""))
    assert main(["plugins", "check", name]) == 1
    printed = capsys.readouterr().out
    assert "  failed  card-complete: the card lacks citation\n" in printed
    assert "wanted: The card says" in printed
    assert "do: state it on the card" in printed
    assert re.search(r"^\d+ passed, 1 failed, \d+ skipped$", printed, re.MULTILINE)


def test_json_has_every_finding(package, capsys) -> None:
    name = package("latent")
    assert main(["plugins", "check", name, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["plugin"] == name
    assert [c["check"] for c in found["checks"]] == ["registers", "manifest-light", "latent-reward-class"]
    assert {c["subject"] for c in found["checks"]} == {f"package {name}", f"latent reward {name}"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no-such-thing"], "nothing is registered as 'no-such-thing'"),
        (["rendom"], "did you mean 'random'?"),
        (["random", "--option", "size=3"], "takes no options"),
        (["random", "--weights", "x=y"], "takes no weights parts"),
        (["random", "--dtype", "int8"], "int8"),
        (["clip"], "clip needs weights"),
        (["animereward:huge"], "huge"),
    ],
)
def test_wrong_input_is_exit_two_with_a_sentence(words, sentence, capsys) -> None:
    assert main(["plugins", "check", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["reward", "judge", "benchmark", "latent"])
def test_what_is_planned_is_what_is_found(kind, package, clips) -> None:
    name = package(kind)
    assert planned(name) == [(f.subject, f.check) for f in examine(name, clips=clips).found.findings]


def test_a_reward_whose_settings_are_refused_meets_all_its_checks(package, clips) -> None:
    name = package("reward", ("version=VERSION,\n", 'version="2.0",\n'))
    assert planned(name) == [(f.subject, f.check) for f in examine(name, clips=clips).found.findings]


def test_a_plugin_that_hangs_is_ended_and_named(package, capsys) -> None:
    loop = "        while True: pass\n"
    name = package("reward", ("        notes = [", loop + "        notes = ["))
    assert main(["plugins", "check", name, "--score-timeout", "1"]) == 1
    assert re.search(r"failed  answers: .*no answer within 1 s", capsys.readouterr().out)


REFUSES = "raise ValueError(\n            'the clip has one frame')"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (
            ("        pixels =", f"        if len(frames[FRAMES].rgb) < 2:\n            {REFUSES}\n        pixels ="),
            "passed",
        ),
        (
            (
                "        notes =",
                f"        if min(i.data['frames'] for i in batch) < 2:\n            {REFUSES}\n        notes =",
            ),
            "passed",
        ),
        (
            (
                "        pixels =",
                "        np.stack([np.ones(2), np.ones(min(len(frames[FRAMES].rgb), 2))])\n        pixels =",
            ),
            "failed",
        ),
        (
            ("        notes =", "        int('x' if min(i.data['frames'] for i in batch) < 2 else 1)\n        notes ="),
            "failed",
        ),
    ],
    ids=["prepare refuses", "score refuses", "numpy refuses", "int refuses"],
)
def test_a_sentence_of_the_plugin_is_told_from_an_error_of_a_library(change, status, package, clips) -> None:
    count = (
        '"contrast": np.array(pixels.std())',
        '"contrast": np.array(pixels.std()), "frames": np.array(len(pixels))',
    )
    found = examine(package("reward", change, count), clips=clips).found
    assert found.of("one-frame").status == status, found.of("one-frame").seen
    assert {f.check for f in found.faults} == ({"one-frame"} if status == "failed" else set())
    if status == "passed":
        assert "refused" in found.of("one-frame").seen
        assert "the clip has one frame" in found.of("one-frame").seen


def test_one_package_may_register_several_kinds(package, clips) -> None:
    name = package(
        "reward",
        (
            "import RewardManifest, hookimpl",
            "import Manifest, RewardManifest, hookimpl\n\n\n@hookimpl\ndef rewardbench_latent_rewards():\n"
            '    return [Manifest("other-name", "no_such_module:X")]\n',
        ),
    )
    for asked in (name, "other-name"):
        found = examine(asked, clips=clips).found
        assert [f.subject for f in found.faults] == ["latent reward other-name"]
        assert found.of("answers").status == "passed"


def test_names_of_checks_are_unique_and_say_what_they_want() -> None:
    checks = {check.name: check for one in all_checks().values() for check in one}
    assert all(checks[c.name] is c for one in all_checks().values() for c in one)
    for check in checks.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", check.name)
        assert check.wants.endswith(".")
        assert set(check.needs) <= set(checks)


def test_the_guide_lists_every_check_with_what_it_wants() -> None:
    text = (ROOT / "docs" / "plugin-guide.md").read_text(encoding="utf-8")
    checks = {check.name: check.wants for one in all_checks().values() for check in one}
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert {name: rows.get(name) for name in checks} == checks
