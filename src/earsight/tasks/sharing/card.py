"""The model card of a run (README.md on the hub), from the run's own files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from earsight import extras
from earsight.dataset.sources import known_sources
from earsight.dataset.sources.source import Source
from earsight.network.description import REFIT_KEY
from earsight.plain import plain
from earsight.scores.metrics import Metrics
from earsight.scores.multilabel import MultiMetrics
from earsight.settings import flatten

_OF_HUB = {"accuracy": "accuracy", "uar": "recall", "macro_f1": "f1", "micro_f1": "f1", "map": "mean_average_precision"}
"""Our names of scores → the hub's."""
_FEW = 20


@dataclass(frozen=True)
class Card:
    """The content of a card. name: user/model. described: model.json. numbers: metrics.json, {} for none; both as
    published. licence: of the weights, by the hub's identifier; None for that of the data. onnx: name of the exported
    file; "" for none."""

    name: str
    described: Mapping[str, Any]
    numbers: Mapping[str, Any]
    licence: str | None = None
    onnx: str = ""

    @property
    def split(self) -> Mapping[str, Any]:
        return self.described.get("split") or self.numbers.get("split") or {}

    @property
    def data(self) -> Mapping[str, Any]:
        return self.described.get("data", {})

    @property
    def training_score(self) -> bool:
        return bool(self.split.get("training_score"))

    @property
    def scored(self) -> Mapping[str, Any]:
        """The test scores, or those on training clips where the run has only these; {} for none."""
        return self.numbers.get("train" if self.training_score else "test", {})

    @property
    def source(self) -> Source | None:
        """The known data set that it was trained on; None for other data."""
        return None if self.data.get("synthetic") else known_sources().get(str(self.data.get("source")))

    @property
    def weights_licence(self) -> str | None:
        return self.licence or (hub_licence(self.source.licence) if self.source else None)

    @property
    def names(self) -> dict[str, str]:
        """Key in the metrics → name of the score."""
        kind = MultiMetrics if self.described.get("task") == "multilabel" else Metrics
        return {key: name for key, name in kind.NAMES.items() if key in self.scored}

    def text(self) -> str:
        """Markdown with the front matter that the hub reads. Raises MissingExtraError."""
        jinja2 = extras.require("jinja2")
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        environment.filters |= {"cell": cell, "plain": plain}
        template = (files("earsight.tasks.sharing") / "card.md.j2").read_text(encoding="utf-8")
        text = environment.from_string(template).render(front_matter=self._front_matter(), **self._facts())
        return str(text) + "\n"

    def _front_matter(self) -> str:
        hub = extras.require("huggingface_hub")
        model, source = str(self.described["network"]["model"]), self.source
        title, kind = _title(source, self.data), str(self.split.get("kind", "")) or None
        caveat = self.split.get("caveat")
        results = [
            hub.EvalResult(
                task_type="audio-classification",
                dataset_type=source.name if source else "other",
                dataset_name=title,
                dataset_config=kind,
                dataset_split="train" if self.training_score else "test",
                metric_type=_OF_HUB[key],
                metric_name=f"{name} ({caveat})" if caveat else name,
                metric_value=round(float(self.scored[key]), 4),
            )
            for key, name in self.names.items()
        ]
        data = hub.ModelCardData(
            license=self.weights_licence,
            library_name="earsight",
            pipeline_tag="audio-classification",
            tags=["earsight", "audio", "timm", plain(model), "mel-spectrogram"],
            datasets=[source.name] if source else None,
            metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
            model_name=self.name.rpartition("/")[2],
            eval_results=results or None,
        )
        return str(data.to_yaml())

    def _facts(self) -> dict[str, Any]:
        described, numbers, data, split = self.described, self.numbers, self.data, self.split
        scored, intervals = self.scored, numbers.get("intervals95", {})
        score = {
            "clips": scored.get("clips"),
            "rows": [(name, scored[key], intervals.get(key)) for key, name in self.names.items()],
            "per_class": scored.get("per_class", []),
            "intervals": bool(intervals),
        }
        parts = numbers.get("clips", {})
        return {
            "name": self.name,
            "title": self.name.rpartition("/")[2],
            "version": described.get("earsight", "of an unknown version"),
            "network": described["network"],
            "members": len(described.get("members", [])),
            "several": described.get("task") == "multilabel",
            "labels": described["labels"],
            "synthetic": bool(data.get("synthetic")),
            "sentence": split.get("sentence", ""),
            "training_score": self.training_score,
            "unseen": bool(split.get("speaker_independent")),
            "caveat": split.get("caveat", ""),
            "group_name": data.get("group_name", "group"),
            "score": score if scored else None,
            "groups": [one for one in numbers.get("groups", []) if one.get("group")],
            "valid": self._validation(),
            "thresholds": numbers.get("thresholds", {}),
            "audio": described["audio"],
            "unknown": described.get("unknown"),
            "known": {"coverage": None, "risk": None, **numbers.get("unknown", {}).get("test", {})},
            "calibration": numbers.get("calibration"),
            "settings": list(_settings(described)),
            "source": self.source,
            "clips": data.get("clips", "an unknown number of"),
            "parts": ", ".join(f"{count} {part}" for part, count in parts.items()),
            "failures": len(data["failures"]) if "failures" in data else None,
            "fingerprint": data.get("fingerprint", "not known"),
            "start": _start(described),
            "rare": [row["label"] for row in scored.get("per_class", []) if row["support"] < _FEW],
            "licence": self.weights_licence,
            "chosen": self.licence is not None,
            "onnx": self.onnx,
        }

    def _validation(self) -> str:
        valid = self.numbers.get("valid", {})
        before = " (before the refit)" if REFIT_KEY in self.described and valid else ""
        return ", ".join(f"{name} {valid[key]:.3f}" for key, name in self.names.items() if key in valid) + before


def cell(text: object) -> str:
    """Text from the data, escaped for a Markdown line or table."""
    shown = plain(text)
    for mark in "\\`*[<|":
        shown = shown.replace(mark, f"&#{ord(mark)};")
    return shown


def hub_licence(licence: str) -> str | None:
    """The hub's identifier of a licence (cc-by-4.0); None where it has none."""
    if licence.startswith("CC "):
        return "-".join(licence.lower().split())
    return {"ODbL 1.0": "odbl"}.get(licence)


def _title(source: Source | None, data: Mapping[str, Any]) -> str:
    if data.get("synthetic"):
        return "synthetic voices of earsight"
    return source.title if source else "recordings of no public data set"


def _settings(described: Mapping[str, Any]) -> Sequence[tuple[str, Any]]:
    """Settings of the front end and the training, for the table of the card."""
    recipe = described.get("recipe", {})
    groups = {name: described[name] for name in ("audio", "mel", "network")}
    trained = {"recipe": described.get("recipe_name")} | {
        key: recipe.get(key) for key in ("epochs", "batch_size", "seed") if key in recipe
    }
    if described.get("mean_of_epochs"):
        trained["epochs kept, their mean"] = described["mean_of_epochs"]
    elif "epoch" in described:
        trained["epoch kept"] = described["epoch"]
    if REFIT_KEY in described:
        trained["refit, clips"] = described[REFIT_KEY]["clips"]
    return [*flatten({**groups, **trained}).items()]


def _start(described: Mapping[str, Any]) -> str:
    network = described["network"]
    if not network.get("pretrained"):
        return "The network began with random weights."
    if network.get("weights"):
        return f"The network began with the weights of the file {cell(network['weights'])}."
    return "The network began with timm's pretrained weights, which have a licence of their own."
