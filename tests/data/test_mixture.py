# SPDX-License-Identifier: Apache-2.0
"""Several datasets in one run: how many rows of each an epoch has, which ones, and what is said of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tadrib.training.config import METHODS, CommonConfig, SFTConfig, parse_spec
from tadrib.training.data.fingerprint import fingerprints
from tadrib.training.data.group import Group
from tadrib.training.data.mixture import epoch_rows, quotas, sample
from tadrib.training.data.prepare import PreparedData, prepare_data
from tadrib.training.errors import DataError, SpecError
from tests.data.builders import build_tokenizer, config, row, rows, write_jsonl

SIZES = {"large": 5000, "middle": 300, "small": 70}


def source_of(numbers: np.ndarray, sizes: dict[str, int] = SIZES) -> Counter[str]:
    places = np.searchsorted(np.cumsum(list(sizes.values())), numbers, side="right")
    return Counter(np.array(list(sizes))[places].tolist())


def write_sources(folder: Path, method: str = "sft", **sizes: int) -> dict[str, str]:
    """A file for each name, whose prompts contain the name."""
    first = "instruction" if method == "sft" else "prompt"
    files = {}
    for name, size in sizes.items():
        items = [item | {first: f"{name} {item[first]}"} for item in rows(method, size)]
        files[name] = write_jsonl(folder / f"{name}.jsonl", items)
    return files


def mixed(method: str, files: dict[str, str], entries: dict[str, dict], **fields: object) -> CommonConfig:
    listed = [{"path": files[name], **entries.get(name, {})} for name in files]
    template = "alpaca" if method == "sft" else "plain"
    given = {"model_name": "tiny", "instruction_template": template, "datasets": listed}
    return METHODS[method].config(**given | fields)


def text_of(group: Group) -> str:
    return str(build_tokenizer().decode(group.prompt))


def names_in(data: PreparedData, names: dict[str, str]) -> list[str]:
    return [next(name for name in names if name in text_of(group)) for group in data.train]


@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (6, 3, 1), (1, 1, 1), (0.001, 0.9, 5.0)])
def test_an_epoch_has_the_shares_of_the_weights(weights: tuple[float, ...]) -> None:
    drawn = epoch_rows(SIZES, weights, seed=1)

    assert len(drawn) == sum(SIZES.values())
    for (name, count), weight in zip(sorted(source_of(drawn).items()), weights, strict=True):
        assert abs(count - len(drawn) * weight / sum(weights)) < 1, name


def test_any_stretch_of_an_epoch_has_the_shares_of_the_weights() -> None:
    drawn = epoch_rows(SIZES, (0.6, 0.3, 0.1), seed=1)

    for end in (100, 1000, 3000):
        counts = source_of(drawn[:end])
        assert [abs(counts[name] - end * w) < 2 for name, w in zip(SIZES, (0.6, 0.3, 0.1), strict=True)] == [
            True
        ] * 3


def test_a_small_dataset_is_used_up_before_a_row_of_it_comes_again() -> None:
    drawn = epoch_rows(SIZES, (0.6, 0.3, 0.1), seed=1)
    small = drawn[drawn >= 5300]

    assert set(Counter(small.tolist()).values()) == {len(small) // 70, len(small) // 70 + 1}
    for start in range(0, len(small) - 70, 70):
        assert len(set(small[start : start + 70].tolist())) == 70


def test_a_large_dataset_gives_rows_without_repetition() -> None:
    large = [number for number in epoch_rows(SIZES, (0.6, 0.3, 0.1), seed=1) if number < 5000]

    assert len(large) == len(set(large)) == round(0.6 * 5370)


def test_the_seed_alone_decides_and_other_datasets_change_no_choice() -> None:
    drawn = [epoch_rows(SIZES, (2, 1, 1), seed).tolist() for seed in (0, 0, 1)]

    assert drawn[0] == drawn[1] != drawn[2]
    assert sample(1000, 10, 0, "a").tolist() == sample(1000, 10, 0, "a").tolist()
    assert sample(1000, 10, 0, "a").tolist() != sample(1000, 10, 0, "b").tolist()
    assert sample(10, 10, 0, "a").tolist() == sample(10, None, 0, "a").tolist() == list(range(10))


@pytest.mark.parametrize(
    ("sizes", "weights", "expected"),
    [
        ([10, 10], [1, 1], [10, 10]),
        ([5, 5], [2, 1], [7, 3]),
        ([1, 1, 1], [1, 1, 1], [1, 1, 1]),
        ([0, 7], [1, 6], [1, 6]),
    ],
)
def test_rows_left_over_go_to_the_largest_remainders(sizes: list, weights: list, expected: list) -> None:
    assert quotas(sizes, weights) == expected


def test_without_weights_the_datasets_are_one_after_the_other(tmp_path: Path) -> None:
    files = write_sources(tmp_path, one=6, two=3)
    data = prepare_data(mixed("sft", files, {}), "sft", build_tokenizer())

    assert names_in(data, files) == ["one"] * 6 + ["two"] * 3
    assert [group.row for group in data.train] == list(range(9))
    assert [(s.name, s.rows, s.epoch_rows) for s in data.report.sources] == [("one", 6, 6), ("two", 3, 3)]
    assert (data.report.rows, data.report.train_rows, data.eval, data.eval_sets) == (9, 9, None, {})


@pytest.mark.parametrize("method", METHODS)
def test_a_mixture_of_every_method_is_the_same_after_saving(tmp_path: Path, method: str) -> None:
    files = write_sources(tmp_path, method, large=60, middle=30, small=10)
    entries = {
        "large": {"weight": 5, "split": 0.1},
        "middle": {"weight": 3, "split": 0.2},
        "small": {"weight": 2, "split": 0},
    }
    settings = mixed(method, files, entries)

    data, again = (prepare_data(settings, method, build_tokenizer()) for _ in range(2))
    data.save(tmp_path / "prepared")
    loaded = PreparedData.load(tmp_path / "prepared")

    assert list(data.train) == list(again.train) == list(loaded.train)
    assert loaded.report == data.report
    assert loaded.eval_sets == {"large": 6, "middle": 6, "small": 0}
    assert Counter(names_in(data, files)) == {"large": 44, "middle": 26, "small": 18}
    assert loaded.eval is not None
    assert ["large" in text_of(group) for group in loaded.eval] == [True] * 6 + [False] * 6
    assert not {text_of(g) for g in loaded.eval} & {text_of(g) for g in loaded.train}


def test_a_row_that_comes_often_is_told(tmp_path: Path) -> None:
    files = write_sources(tmp_path, large=60, small=2)
    data = prepare_data(
        mixed("sft", files, {"large": {"weight": 1}, "small": {"weight": 1}}), "sft", build_tokenizer()
    )

    assert any(
        "small: by its weight, an epoch trains 15.5 times on each of its 2 rows" in w
        for w in data.report.warnings
    )


def test_max_rows_takes_that_many_of_one(tmp_path: Path) -> None:
    files = write_sources(tmp_path, one=30, two=8)
    data = prepare_data(
        mixed("sft", files, {"one": {"max_rows": 10, "split": 0.2}}), "sft", build_tokenizer()
    )

    assert Counter(names_in(data, files)) == {"one": 8, "two": 8}
    assert data.eval_sets == {"one": 2, "two": 0}


def test_bad_rows_of_all_datasets_are_told_at_once_and_kept_apart(tmp_path: Path) -> None:
    files = write_sources(tmp_path, one=3, two=3)
    for name in files:
        with open(files[name], "a", encoding="utf-8") as file:
            file.write('{"instruction": "", "response": "a"}\n')

    with pytest.raises(DataError) as refused:
        prepare_data(mixed("sft", files, {}), "sft", build_tokenizer())
    prepare_data(mixed("sft", files, {}, max_bad_rows=1), "sft", build_tokenizer(), rejected_dir=tmp_path)

    assert [f"{files[name]}:4: instruction" in str(refused.value) for name in files] == [True, True]
    assert (tmp_path / "rejected-one.jsonl").read_text().count("\n") == 1
    assert (tmp_path / "rejected-two.jsonl").read_text().count("\n") == 1


def test_labels_of_both_kinds_may_come_from_two_datasets(tmp_path: Path) -> None:
    good = write_jsonl(tmp_path / "good.jsonl", [row("kto", prompt=f"{n}") for n in range(4)])
    bad = write_jsonl(tmp_path / "bad.jsonl", [row("kto", prompt=f"{n}", label=False) for n in range(4)])

    assert (
        len(prepare_data(mixed("kto", {"good": good, "bad": bad}, {}), "kto", build_tokenizer()).train) == 8
    )
    with pytest.raises(DataError, match="all 8 rows are desirable"):
        prepare_data(
            mixed("kto", {"good": good, "again": good}, {"again": {"name": "x"}}), "kto", build_tokenizer()
        )


def test_dataset_path_is_short_for_a_list_of_one(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path / "rows.jsonl", rows("sft", 20))
    short = prepare_data(config("sft", name, validation_split=0.1), "sft", build_tokenizer())
    listed = prepare_data(mixed("sft", {"rows": name}, {"rows": {"split": 0.1}}), "sft", build_tokenizer())

    assert list(short.train) == list(listed.train)
    assert (listed.eval_sets, listed.report.sources) == ({}, [])


def test_a_changed_dataset_of_several_is_known_by_its_key(tmp_path: Path) -> None:
    files = write_sources(tmp_path, one=3, two=3)
    settings = mixed("sft", files, {})
    before = fingerprints(settings)
    write_sources(tmp_path, two=4)

    after = fingerprints(settings)

    assert before.keys() == {"datasets[0].path", "datasets[1].path"}
    assert [key for key in before if before[key] != after[key]] == ["datasets[1].path"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dataset_path": "a.jsonl", "datasets": [{"path": "b.jsonl"}]},
            "dataset_path: a.jsonl together with datasets",
        ),
        ({"datasets": []}, "dataset_path: required"),
        (
            {"datasets": [{"path": "a/x.jsonl"}, {"path": "b/x.csv"}]},
            r"datasets\[1\].name: x, as datasets\[0\]",
        ),
        (
            {"datasets": [{"path": "a.jsonl", "weight": 1}, {"path": "b.jsonl"}]},
            r"datasets\[1\].weight: not set",
        ),
        (
            {"datasets": [{"path": "a.jsonl", "weight": 1, "max_rows": 3}]},
            r"datasets\[0\].max_rows: 3 together with weight",
        ),
        ({"datasets": [{"path": "a.jsonl", "weight": 0}]}, r"datasets\[0\].weight: must be > 0, got 0"),
        (
            {"datasets": [{"path": "a.jsonl", "name": "a/b"}]},
            r"datasets\[0\].name: must have 1 to 40 Latin letters",
        ),
        (
            {"datasets": [{"pth": "a.jsonl"}]},
            r"datasets\[0\].pth: unknown key. Did you mean datasets\[0\].path\?",
        ),
        ({"datasets": [{"name": "a"}]}, r"datasets\[0\].path: required, but not set"),
        ({"datasets": "a.jsonl"}, 'datasets: must be a list, got "a.jsonl"'),
        (
            {"datasets": [{"path": "a.jsonl", "split": "train"}]},
            r"datasets\[0\].split: must be a number, got \"train\"",
        ),
        (
            {"datasets": [{"path": "a.jsonl", "split": 0.1}], "eval_dataset_path": "e.jsonl"},
            "evaluation rows come from one place",
        ),
        (
            {"datasets": [{"path": "a.jsonl"}], "metric_for_best_model": "eval_b_loss"},
            "metric_for_best_model",
        ),
    ],
)
def test_what_cannot_be_a_mixture_is_refused(given: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec({"method": "sft", "name": "run", **given})


def test_a_spec_with_datasets_is_the_same_when_it_is_written_and_read(tmp_path: Path) -> None:
    given = [
        {"path": "data/مسائل.jsonl", "name": "math", "split": 0.1, "weight": 2},
        {"path": "s3://b/u/x.jsonl.gz?a=b", "weight": 1},
    ]
    spec = parse_spec(
        {"method": "sft", "name": "run", "datasets": given, "metric_for_best_model": "eval_math_loss"}
    )

    assert parse_spec(spec.as_given()) == spec
    assert parse_spec(spec.to_mapping()).to_mapping() == spec.to_mapping()
    assert [source.label for source in spec.config.sources] == ["math", "x"]
    assert not spec.config.best_is_greatest
    assert spec.view()["run.eval_data"]
    moved = spec.with_config(spec.config.with_paths({"datasets[1].path": "/abs/x.jsonl"}))
    assert [value for key, value, _ in moved.paths() if key.startswith("datasets")] == [
        "data/مسائل.jsonl",
        "/abs/x.jsonl",
    ]


def test_names_come_from_paths() -> None:
    paths = ["org/set-1:train", "a/b.c.jsonl", "مسائل.jsonl", "/data/dir/"]
    settings = SFTConfig(datasets=[{"path": path} for path in paths])

    assert [source.label for source in settings.sources] == ["set-1-train", "b", "data", "dir"]
