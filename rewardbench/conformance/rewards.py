"""Checks of a reward model's class, card and first answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rewardbench.conformance.checks import CheckList, Fault, NotChecked
from rewardbench.conformance.probe import ask
from rewardbench.conformance.registered import Registered
from rewardbench.conformance.session import Limits, Refused
from rewardbench.conformance.subject import RewardSubject, title
from rewardbench.errors import InputError, PluginError
from rewardbench.jobs import make_job
from rewardbench.registry import instantiate, resolve_spec
from rewardbench.scoring.plan import Job
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.hooks import RewardManifest
from rewardbench_plugin.reward import RewardModel

STATED = "state it on the card; a reader of a result has nothing else to go by"
DOES_NOT_TRAVEL = ("must be a numeric numpy array", "not JSON serializable")


@dataclass
class Candidate:
    """A reward model before it is configured; the checks fill in what they find."""

    registered: Registered
    spec: str
    weights: dict[str, str]
    options: dict[str, str]
    seed: int
    limits: Limits
    is_meant: bool
    model: RewardModel | None = None
    job: Job | None = None

    @property
    def card(self) -> RewardCard:
        assert self.model is not None, "the check of the class has passed"
        return self.model.card


CANDIDATE = CheckList()


@CANDIDATE.add("class", "The manifest's target is a RewardModel with a RewardCard that can be made without arguments.")
def _class(candidate: Candidate) -> str:
    try:
        name, _, target = resolve_spec(candidate.spec)
        candidate.model = instantiate(name, target)
    except PluginError as error:
        raise Fault(
            str(error), "make the target 'module:Class' importable, a subclass of RewardModel, with a RewardCard"
        ) from None
    return f"{target} is one"


@CANDIDATE.add("manifest-matches-card", "Manifest and card state the same name and version.", needs=["class"])
def _same_name(candidate: Candidate) -> str:
    manifest, card = candidate.registered.manifest, candidate.card
    assert isinstance(manifest, RewardManifest)
    said, stated = f"{manifest.name} {manifest.version}", f"{card.name} {card.version}"
    if said != stated:
        raise Fault(
            f"the manifest says {said}, the card {stated}",
            "take both from one constant: the version stands in the key of every score",
        )
    return f"both say {said}"


@CANDIDATE.add(
    "card-complete",
    "The card says what a reader of a result must know: summary, dimensions with range and meaning, inputs, licences, "
    "training data, source.",
    needs=["class"],
)
def _card(candidate: Candidate) -> str:
    lacking = _lacking(candidate.card)
    if lacking:
        raise Fault(f"the card lacks {'; '.join(lacking)}", STATED)
    return f"{len(candidate.card.dimensions)} dimensions, inputs, licences, training data and citation are stated"


def _lacking(card: RewardCard) -> list[str]:
    lacking = [] if card.summary.strip() else ["summary"]
    for d in card.dimensions:
        if not d.description.strip():
            lacking.append(f"description of {d.name}")
        if math.isnan(d.low) or math.isnan(d.high) or not d.low < d.high:
            lacking.append(f"a range of {d.name} (low {d.low:g} is not below high {d.high:g})")
    if not card.inputs:
        lacking.append("inputs (which frames the dimensions see, or PATH)")
    derived = [name for name in card.dimension_names if name not in card.inputs]
    if card.inputs and derived and not card.overall_rule.strip():
        lacking.append(f"inputs or, in overall_rule, the rule of {', '.join(derived)}")
    if card.default_score is not None and card.default_score not in card.dimension_names:
        lacking.append(f"a dimension named {card.default_score}, its default_score")
    unknown = ("", "unknown")
    lacking += [
        field
        for field in ("training_data", "code_licence", "weights_licence", "citation")
        if getattr(card, field).strip().lower() in unknown
    ]
    if (card.weights_parts or card.sources) and card.weights_licence.strip().lower() == "none":
        lacking.append("weights_licence (it says none, and there are weights)")
    rule = card.native_tie_rule
    strange = [] if rule is None else [name for name in rule.thresholds if name not in card.dimension_names]
    if strange:
        lacking.append(f"a dimension named {strange[0]}, which native_tie_rule has a threshold for")
    return lacking


@CANDIDATE.add(
    "settings",
    "configure and fingerprint take the user's choices, and refuse with a ValueError of one sentence.",
    needs=["class", "manifest-matches-card"],
)
def _settings(candidate: Candidate) -> str:
    c = candidate
    try:
        c.job = make_job(c.spec, c.weights, c.options, None, c.limits.dtype, c.seed)
    except PluginError as error:
        raise Fault(
            str(error), "raise ValueError with one sentence where a choice cannot be used, and nothing else"
        ) from None
    except InputError as error:
        if c.is_meant:
            raise
        raise NotChecked(f"{error}; check it by its own name") from None
    return "taken"


@CANDIDATE.add(
    "fingerprint",
    "The fingerprint is the same in every process: it stands in the key of every stored score.",
    needs=["settings"],
)
def _fingerprint(candidate: Candidate) -> str:
    c = candidate
    assert c.job is not None, "the settings were taken"
    choices = {"weights": c.weights, "options": c.options, "dimensions": None, "seed": c.seed}
    there = ask({"reward": {"spec": c.spec, **choices}})
    here = c.job.model.fingerprint()
    advice = "build it from name, version, preset, options and the content of the weights, as the default does"
    if "error" in there:
        raise Fault(f"another process cannot say it: {there['error']}", advice)
    if there["fingerprint"] != here:
        raise Fault(f"{here[:16]} here, {there['fingerprint'][:16]} in another process", advice)
    return here[:16]


SUBJECT = CheckList()


@SUBJECT.add("prepare", "prepare works in a decode process, where load was never called.")
def _prepare(subject: RewardSubject) -> str:
    if subject.job.model.per_pair or not subject.job.reads_clips:
        raise NotChecked("it reads no clips: recorded scores have nothing to run")
    advice = "prepare may use the clip, its frames and what configure set; what it needs of the weights it opens itself"
    names: dict[str, None] = {}
    for asked in subject.asked:
        try:
            item = subject.sessions.decoder.item(asked)
        except Refused as refusal:
            if any(words in str(refusal) for words in DOES_NOT_TRAVEL):
                return "it runs"
            raise Fault(f"{title(asked)}: {refusal}", advice) from None
        names |= dict.fromkeys(f"{n.partition('/')[2]} {a.dtype} {a.shape}" for n, a in item.arrays.items())
    return f"makes {', '.join(list(names)[:4]) or 'nothing'}"


@SUBJECT.add("loads", "load opens the model in a process of its own.")
def _loads(subject: RewardSubject) -> str:
    try:
        return f"loaded on {subject.device}"
    except PluginError as error:  # its environment cannot be built
        raise Fault(str(error), "make its requirements installable: rewardbench environments build NAME") from None
    except Refused as refusal:
        raise Fault(
            str(refusal),
            "load may count on configure only; where weights are missing or wrong, raise ValueError with one sentence",
        ) from None


@SUBJECT.add(
    "transport",
    "What prepare and score hand over is plain numbers and text: it travels between processes and is never pickled.",
    needs=["prepare", "loads"],
)
def _transport(subject: RewardSubject) -> str:
    try:
        _ = subject.ordinary
    except Refused as refusal:
        if not any(words in str(refusal) for words in DOES_NOT_TRAVEL):
            return "what prepare makes travels"
        raise Fault(
            str(refusal),
            "give prepare's arrays a numeric or boolean dtype, and make notes, text and errors strings (or None)",
        ) from None
    return "arrays and texts arrived"


@SUBJECT.add(
    "answers",
    "score gives one row for each clip and one column for each dimension (compare: three probabilities a pair).",
    needs=["transport"],
)
def _answers(subject: RewardSubject) -> str:
    advice = "return values of shape (len(batch), len(self.dimensions)); a judge returns p of shape (len(batch), 3)"
    try:
        answer = subject.ordinary
    except Refused as refusal:
        raise Fault(f"three ordinary clips: {refusal}", advice) from None
    failed = [(asked, error) for asked, error in zip(subject.asked, answer.errors, strict=True) if error]
    if failed:
        raise Fault(
            f"{title(failed[0][0])} is an error: {failed[0][1]}",
            "score ordinary clips: 3.25 s, 320x192, with prompt and first-frame image",
        )
    return f"{answer.values.shape[0]} rows of {', '.join(subject.columns)}"


@SUBJECT.add(
    "dtype",
    "Scores are float32 or float64: half precision and whole numbers make ties that the model did not mean.",
    needs=["answers"],
)
def _dtype(subject: RewardSubject) -> str:
    types = subject.ordinary.types
    if not types:
        raise NotChecked("an isolated worker converts scores before they can be seen")
    wrong = {field: dtype for field, dtype in types.items() if dtype.rpartition(".")[2] not in ("float32", "float64")}
    if wrong:
        raise Fault(
            ", ".join(f"{field} is {dtype}" for field, dtype in wrong.items()),
            "convert to float32 before the last operation (.float() on a tensor), not after it",
        )
    return ", ".join(f"{field} {dtype}" for field, dtype in types.items())
