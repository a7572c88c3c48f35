"""Finding plugins: what is listed, what is refused, and in which words."""

from __future__ import annotations

import pytest

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import choose_reward, find_reward, load_registry

PLUGIN = """
from rewardbench_plugin import Dimension, RewardCard, RewardManifest, RewardModel, hookimpl

class Model(RewardModel):
    card = RewardCard(name="{name}", version="{version}", dimensions=(Dimension("a"), Dimension("overall")))
    option_names = ("speed",)

@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="{name}", version="{version}", target=__name__ + ":Model",
                           presets={{"small": __name__ + ":Model"}})]
"""


def test_built_ins_come_through_the_same_door() -> None:
    registry = load_registry()
    assert {"animereward", "clip", "random", "scores", "verdicts"} <= set(registry.rewards)
    assert "anime-probe" in registry.benchmarks
    assert registry.failures == []


def test_a_third_party_plugin_is_found_and_configured(install_plugin) -> None:
    install_plugin("shiny", PLUGIN.format(name="shiny", version="2.0"))
    choice, model = choose_reward("shiny:small", options={"speed": "3"}, dimensions=["overall"])
    assert choice.label == "shiny:small"
    assert model.options == {"speed": "3"}
    assert model.dimensions == ("overall",)


def test_a_plugin_that_fails_to_import_takes_nothing_down(install_plugin) -> None:
    install_plugin("broken", "import a_module_that_is_not_there\n")
    registry = load_registry()
    assert "random" in registry.rewards
    (failure,) = registry.failures
    assert failure.name == "broken"
    assert "a_module_that_is_not_there" in failure.reason
    with pytest.raises(PluginError, match="broken.*cannot be used: ModuleNotFoundError"):
        find_reward("broken")


def test_a_mistyped_hook_fails_loudly_with_the_nearest_name(install_plugin) -> None:
    source = "from rewardbench_plugin import hookimpl\n@hookimpl\ndef rewardbench_reward():\n    return []\n"
    install_plugin("typo", source)
    with pytest.raises(PluginError, match="unknown hook rewardbench_reward; did you mean 'rewardbench_rewards'"):
        load_registry()


def test_a_hook_with_an_unknown_argument_fails_loudly(install_plugin) -> None:
    source = "from rewardbench_plugin import hookimpl\n@hookimpl\ndef rewardbench_run_start(pluggin):\n    pass\n"
    install_plugin("typo", source)
    with pytest.raises(PluginError, match="pluggin"):
        load_registry()


def test_the_variable_chooses_what_loads(install_plugin, monkeypatch) -> None:
    install_plugin("broken", "raise RuntimeError\n")
    monkeypatch.setenv("REWARDBENCH_PLUGINS", "random, scores")
    load_registry.cache_clear()
    registry = load_registry()
    assert set(registry.rewards) == {"random", "scores"}
    assert registry.failures == []
    monkeypatch.setenv("REWARDBENCH_PLUGINS", "")
    load_registry.cache_clear()
    assert load_registry().rewards == {}


def test_same_name_and_version_twice_is_one_plugin(install_plugin) -> None:
    install_plugin("one", PLUGIN.format(name="shiny", version="1.0"))
    install_plugin("two", PLUGIN.format(name="shiny", version="1.0"))
    registry = load_registry()
    assert registry.failures == []
    assert find_reward("shiny").version == "1.0"


def test_another_version_under_the_same_name_is_an_error_naming_both(install_plugin) -> None:
    install_plugin("one", PLUGIN.format(name="shiny", version="1.0"))
    install_plugin("two", PLUGIN.format(name="shiny", version="1.1"))
    assert "random" in load_registry().rewards
    with pytest.raises(PluginError, match=r"version 1\.0 by third_party_one and version 1\.1 by third_party_two"):
        find_reward("shiny")


@pytest.mark.parametrize(
    ("spec", "choices", "error", "sentence"),
    [
        ("randm", {}, PluginError, "unknown plugin 'randm'; did you mean 'random'"),
        ("shiny:smal", {}, PluginError, "no preset 'smal'; did you mean 'small'"),
        ("shiny", {"options": {"sped": "1"}}, InputError, "no option 'sped'; did you mean 'speed'"),
        ("shiny", {"weights": {"head": "x"}}, InputError, "no weights part 'head'; it takes no weights parts"),
        ("shiny", {"dimensions": ["overal"]}, InputError, "no dimension 'overal'; did you mean 'overall'"),
    ],
)
def test_refusals_name_the_nearest(install_plugin, spec, choices, error, sentence) -> None:
    install_plugin("shiny", PLUGIN.format(name="shiny", version="1.0"))
    with pytest.raises(error, match=sentence):
        choose_reward(spec, **choices)


def test_aliases_of_papers_and_files() -> None:
    from rewardbench.registry import resolve_dimensions

    known = ("smoothness", "appeal", "text_video", "overall")
    wanted = ["text-video_consist", "visual_quality", "visual_smooth"]
    assert resolve_dimensions(known, wanted, "x") == ("smoothness", "appeal", "text_video")
    assert resolve_dimensions(("visual_quality",), ["visual_quality"], "x") == ("visual_quality",)


def test_a_class_that_is_no_reward_model_is_refused(install_plugin) -> None:
    source = PLUGIN.format(name="odd", version="1.0").replace("class Model(RewardModel)", "class Model")
    install_plugin("odd", source)
    with pytest.raises(PluginError, match="must be a RewardModel"):
        choose_reward("odd")
