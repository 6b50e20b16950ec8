"""Cards of runs that are described here: what they tell, and what they say is not known."""

from typing import Any

import yaml

from earsight.network.prediction import UnknownLimits
from earsight.tasks.sharing.card import Card, cell, hub_licence


def front_matter(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def described_as(**changes: Any) -> dict[str, Any]:
    audio = {"rate_hz": 16000, "channels": 1, "crop_s": 3.0, "score_crops": 2}
    network = {"model": "resnet18", "pretrained": True, "weights": None}
    data = {"source": "ravdess", "clips": 1440, "group_name": "speaker", "failures": [["a.wav", "x"]]}
    split = {"kind": "luna5:0", "sentence": "Scored on 5 speakers.", "speaker_independent": True}
    about = {"labels": ["a|b", "c"], "audio": audio, "mel": {"n_mels": 64}, "network": network, "earsight": "0.1.0"}
    return {**about, "data": data, "split": split, **changes}


def scored_as(**changes: Any) -> dict[str, Any]:
    per_class = [
        {"label": "a|b", "precision": 0.5, "recall": 0.25, "f1": 0.3333, "support": 3},
        {"label": "c", "precision": 0.75, "recall": 0.875, "f1": 0.8, "support": 40},
    ]
    test = {"clips": 43, "accuracy": 0.7171, "uar": 0.7191, "macro_f1": 0.5, "per_class": per_class}
    groups = [{"group": f"{n:02}", "clips": 8, "accuracy": 0.61 + n * 0.055} for n in range(5)]
    return {"test": test, "intervals95": {"accuracy": [0.633, 0.747]}, "groups": groups, **changes}


def test_a_card_of_known_data_and_unseen_speakers() -> None:
    text = Card("me/voices", described_as(), scored_as()).text()
    about = front_matter(text)
    assert (about["license"], about["datasets"]) == ("cc-by-nc-sa-4.0", ["ravdess"])
    assert "Licence of the data: CC BY-NC-SA 4.0. Cite: Livingstone & Russo 2018" in text
    assert "No speaker of the scored clips was heard in training." in text
    assert "| accuracy | 0.717 | 0.633 to 0.747 |" in text
    assert "| UAR | 0.719 | not known |" in text
    assert "how the score differs between the speakers of the scored clips" in text
    assert "accuracy goes from 0.610 to 0.830 (5 speakers)" in text
    assert "| a&#124;b | 0.500 | 0.250 | 0.333 | 3 |" in text
    assert "Few scored clips, so unsure numbers, of: a&#124;b (fewer than 20 each)." in text
    assert "1 file was left out as unusable" in text
    assert "not scored on strangers" not in text
    assert "How well its probabilities are calibrated is not known." in text
    assert front_matter(Card("me/voices", described_as(), scored_as(), "mit").text())["license"] == "mit"


def test_a_card_shows_no_interval_of_few_speakers() -> None:
    text = Card("me/voices", described_as(), scored_as(intervals95={})).text()
    assert "| accuracy | 0.717 | not known |" in text
    assert "The run tells no intervals: they take three or more groups" in text


def test_a_card_says_what_a_score_is_not() -> None:
    data = {"source": "ravdess", "synthetic": True, "clips": 10}
    text = Card("me/voices", described_as(data=data), {}).text()
    assert "**Synthetic voices.** Nobody spoke the recordings" in text
    assert "The run has no score" in text
    assert not {"license", "datasets", "model-index"} & set(front_matter(text))
    split = {"kind": "none", "sentence": "Scored on its own.", "caveat": "training score", "training_score": True}
    numbers = {"train": scored_as()["test"]}
    text = Card("me/voices", described_as(split=split), numbers).text()
    assert "**This is the training score.**" in text
    (result,) = front_matter(text)["model-index"][0]["results"]
    assert result["dataset"]["split"] == "train"
    assert result["metrics"][0]["name"] == "accuracy (training score)"
    split = {"kind": "random", "sentence": "At random.", "caveat": "speaker-dependent"}
    text = Card("me/voices", described_as(split=split), scored_as()).text()
    assert "**Not a score on strangers: speaker-dependent.**" in text
    assert "| score, 43 test clips, speaker-dependent | value |" in text


def test_a_card_of_several_labels() -> None:
    row = {"label": "dog", "ap": 0.9, "precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 30}
    test = {"clips": 60, "map": 0.9, "micro_map": 0.8, "macro_f1": 0.6667, "micro_f1": 0.7, "accuracy": 0.4}
    numbers = {"test": {**test, "per_class": [row]}, "thresholds": {"dog": 0.35}}
    text = Card("me/dogs", described_as(task="multilabel", labels=["dog"]), numbers).text()
    assert "| mAP | 0.900 | not known |" in text
    assert "| dog | 0.900 | 1.000 | 0.500 | 0.667 | 0.350 | 30 |" in text
    assert "any number of 1 labels" in text


def test_a_card_tells_no_limit_where_none_was_fitted() -> None:
    def told(limits: dict[str, float]) -> str:
        return Card("me/voices", described_as(unknown=limits), scored_as()).text()

    assert "what is less familiar than 0.731, is answered" in told(UnknownLimits(0.731, 0.0).to_dict())
    none = told(UnknownLimits().to_dict())
    assert "no limit was fitted for sounds unlike the training's" in none
    assert "less familiar than" not in none


def test_words_of_the_data_are_no_markup() -> None:
    assert cell("a|b*c`<x>\n[y]") == "a&#124;b&#42;c&#96;&#60;x>\\x0a&#91;y]".replace("\\", "&#92;")
    assert [hub_licence(one) for one in ("CC BY-NC 3.0", "ODbL 1.0", "free to use")] == ["cc-by-nc-3.0", "odbl", None]
