# SPDX-License-Identifier: Apache-2.0
"""Specs from YAML files: what is read, how overrides apply, and what is said about a file that is wrong."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tadrib.training.config import METHODS, DPOConfig, JobSpec, load_spec, parse_spec, resolve
from tadrib.training.errors import SpecError

SPEC = "method: dpo\nname: arabic-dpo\ndataset_path: data/dpo.jsonl\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes) -> str:
        path = tmp_path / "spec.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def problems_of(path, *overrides):
    with pytest.raises(SpecError) as caught:
        load_spec(path, overrides)
    assert caught.value.title == path
    assert caught.value.exit_code == 2
    return {problem.where: str(problem) for problem in caught.value.problems}


def test_the_example_of_the_design_is_read(write):
    spec = load_spec(
        write(
            "method: dpo\nname: arabic-dpo\nmodel_name: Qwen/Qwen2.5-7B\n"
            "dataset_path: s3://bucket/arabic-dpo.parquet\nbeta: 0.1\n"
            "resources:\n  num_workers: 8               # or {min: 2, max: 8}: elastic\n"
            "  gpus_per_worker: 1\n  cpus_per_worker: 8\n  memory_per_worker: 64Gi\n"
            "storage_path: s3://bucket/runs\nmax_failures: 3\n"
        )
    )
    assert isinstance(spec.config, DPOConfig)
    assert (spec.config.beta, spec.config.learning_rate) == (0.1, 5e-7)
    assert (spec.world_size, spec.resources.memory_bytes, spec.max_failures) == (8, 64 * 2**30, 3)
    assert spec.run_dir == "s3://bucket/runs/arabic-dpo"
    assert spec.engine == "tadrib"


def test_five_mistakes_are_listed_at_once(write):
    path = write(
        SPEC + "betta: 0.2\nlearning_rate: fast\nload_in_4bit: true\nload_in_8bit: true\nlora_r: 0\n"
    )
    assert list(problems_of(path)) == ["betta", "learning_rate", "load_in_4bit", "lora_r"]
    path = write(
        "method: dop\nname: Arabic DPO\nbetta: 0.2\nbeta: -1\n"
        "load_in_4bit: true\nload_in_8bit: true\nresources: {num_worker: 2}\n"
    )
    found = problems_of(path)
    assert found["method"].endswith('got "dop". Did you mean dpo?')
    assert found["betta"] == "betta: unknown key. Did you mean beta?"
    assert found["beta"] == "beta: must be > 0, got -1."
    assert found["resources.num_worker"].endswith("Did you mean resources.num_workers?")
    assert found["dataset_path"].startswith("dataset_path: required, but not set.")
    assert found["name"].endswith("Did you mean arabic-dpo?   [rule: name_is_a_label]")
    assert found["load_in_4bit"].endswith("[rule: one_quantization]")
    assert len(found) == 7


@pytest.mark.parametrize(
    ("line", "where", "said"),
    [
        ("num_workers: 2", "num_workers", "Did you mean resources.num_workers?"),
        ("lr: 1e-5", "lr", "Did you mean learning_rate?"),
        ("eval_strategy: steps", "eval_strategy", "Did you mean evaluation_strategy?"),
        ("packing: true", "packing", "not a key of method dpo. Remove it, or use one of these methods: sft."),
        ("callbacks: []", "callbacks", "Set it from Python."),
        ("qqq: 1", "qqq", "`tadrib validate --show` then prints every key."),
        ('lora_r: "8"', "lora_r", 'must be a whole number, got "8". Write 8 without quotes.'),
        ("eval_steps: 1_000", "eval_steps", "Write 1000 without quotes."),
        ("model_revision: 5", "model_revision", 'must be text, got 5. Put it in quotes: "5".'),
        ('model_name: ""', "model_name", 'must be text that is not empty, got "".'),
        ('resources: {memory_per_worker: "64"}', "resources.memory_per_worker", "Example: 64Gi."),
        ("lora_target_modules: q_proj", "lora_target_modules", "Write [q_proj]."),
        ("lora_target_modules: [q_proj, 3]", "lora_target_modules[1]", "must be text, got 3."),
        ("beta: .nan", "beta", "must be a finite number"),
        ("beta:", "beta", "Remove the key to use its default."),
        ("use_lora: maybe", "use_lora", 'must be true or false, got "maybe".'),
        ("loss_type: Sigmoyd", "loss_type", "Did you mean sigmoid?"),
        ("text_normalization: [ta-marbuta]", "text_normalization[0]", "Did you mean ta_marbuta?"),
        ("resources: 4", "resources", "must be a mapping of keys to values, got 4."),
        ("resources: {num_workers: two}", "resources.num_workers", 'must be a whole number, got "two".'),
        ("resources: {num_workers: {min: 1}}", "resources.num_workers.max", "required, but not set."),
        ("resources: {num_workers: {mn: 1, max: 2}}", "resources.num_workers.mn", "unknown key."),
        ("resources: {gpus: 1}", "resources.gpus", "Did you mean resources.gpus_per_worker?"),
        ("1: 2", "1", "unknown key."),
    ],
)
def test_a_wrong_line_is_explained_at_the_path_that_was_typed(write, line, where, said):
    assert said in problems_of(write(SPEC + line))[where]


def test_numbers_and_words_follow_yaml_1_2(write):
    spec = load_spec(write(SPEC + "learning_rate: 2e-4\nevaluation_strategy: no\nuse_lora: no\nseed: 0x10\n"))
    assert spec.config.learning_rate == 2e-4
    assert spec.config.evaluation_strategy == "no"
    assert spec.config.use_lora is False
    assert spec.config.seed == 16


def test_no_that_another_reader_made_false_is_understood(write):
    assert load_spec(write(SPEC + "evaluation_strategy: false\n")).config.evaluation_strategy == "no"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"- a\n- b\n", "must be a mapping of keys to values"),
        (b"just words", "must be a mapping of keys to values"),
        (b"a: b: c\n", "line 1, column 5: not valid YAML"),
        (b"a:\n\tb: 1\n", "Indent with spaces"),
        (b"a: 1\n---\nb: 2\n", "but found another document"),
        (b"name: \xff\n", "line 1: not UTF-8: byte 0xff"),
        (b"a: &x 1\nb: *x\n", r"aliases \(\*name\) are not read"),
        (b"a: !!python/object:os.system 1\n", "not valid YAML"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: " + b"x" * 1_000_001, "Is this the dataset?"),
    ],
)
def test_a_file_that_is_no_spec_is_refused(write, content, said):
    path = write(content)
    with pytest.raises(SpecError, match=said) as caught:
        load_spec(path)
    assert caught.value.title == path


def test_a_missing_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(SpecError, match="No such file"):
        load_spec(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="Is a directory"):
        load_spec(tmp_path)


def test_a_key_written_twice_is_refused_with_both_lines(write):
    found = problems_of(write(SPEC + "beta: 0.1\nbeta: 0.2\nresources: {num_workers: 1, num_workers: 2}\n"))
    assert found["beta"] == "beta: set twice, in lines 4 and 5. Keep one."
    assert "in lines 6 and 6" in found["resources.num_workers"]


def test_overrides_set_dotted_keys_with_yaml_values(write):
    path = write(SPEC + "lora_r: 4\nresources: {num_workers: 1}\n")
    spec = load_spec(
        path,
        [
            "lora_r=8",
            "resources.num_workers=2",
            "learning_rate=1e-5",
            "--beta=0.5",
            "lora_target_modules=[q_proj, k_proj]",
            "ref_model_name=null",
            "dataset_path=s3://b/a=b.parquet",
            "beta=0.6",
        ],
    )
    assert (spec.config.lora_r, spec.world_size, spec.config.learning_rate) == (8, 2, 1e-5)
    assert spec.config.lora_target_modules == ["q_proj", "k_proj"]
    assert spec.config.dataset_path == "s3://b/a=b.parquet"
    assert spec.config.beta == 0.6
    elastic = load_spec(write(SPEC), ["resources.num_workers.min=2", "resources.num_workers.max=4"])
    assert elastic.resources.elastic
    assert (elastic.resources.min_workers, elastic.world_size) == (2, 4)


def test_wrong_overrides_are_listed_with_the_wrong_keys_of_the_file(write):
    found = problems_of(
        write(SPEC + "resources: {num_workers: 1}\nbetta: 1\n"),
        "lora_rr=8",
        "lora_r",
        "=8",
        "resources.num_workers.min=1",
        "model_name=a: b: c",
        "engine=### x",
    )
    assert found["lora_rr"] == "lora_rr: unknown key. Did you mean lora_r?"
    assert "an override is key=value" in found['"lora_r"']
    assert "an override is key=value" in found['"=8"']
    assert "resources.num_workers is 1 and not a mapping" in found["resources.num_workers.min"]
    assert "is not valid YAML" in found["model_name"]
    assert "is not valid YAML" in found["engine"]
    assert "betta" in found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gpus", [0, 1])
def test_the_resolved_yaml_loads_to_the_same_run(write, method, gpus):
    spec = parse_spec(
        {
            "method": method,
            "name": "run",
            "dataset_path": "بيانات/تدريب.jsonl",
            "save_steps": 300,
            "validation_split": 0.1,
            "resources": {"num_workers": {"min": 1, "max": 2}, "gpus_per_worker": gpus},
        }
    )
    again = load_spec(write(spec.to_yaml()))
    assert again == resolve(spec).spec
    assert again.config == resolve(spec).spec.config
    assert again.to_yaml() == spec.to_yaml()
    assert "تدريب" in spec.to_yaml()


def test_the_given_mapping_loads_to_an_equal_spec_with_the_same_keys_given():
    spec = parse_spec(yaml.safe_load(SPEC) | {"beta": 0.3, "resources": {"num_workers": 2}})
    assert spec.as_given() == yaml.safe_load(SPEC) | {"beta": 0.3, "resources": {"num_workers": 2}}
    again = parse_spec(spec.as_given())
    assert again == spec
    assert again.config.model_fields_set == spec.config.model_fields_set


def test_specs_that_differ_in_a_setting_of_the_method_are_not_equal():
    spec = JobSpec(method="sft", name="run", dataset_path="d")
    assert spec != JobSpec(method="sft", name="run", dataset_path="d", lora_r=8)


@pytest.mark.parametrize(("key", "value"), [("method", "dpo"), ("name", "other"), ("storage_path", "/other")])
def test_a_spec_cannot_be_changed(key, value):
    spec = JobSpec(method="sft", name="run", dataset_path="d", resources={"num_workers": 2})
    with pytest.raises(
        SpecError, match=rf"{key}: cannot be changed\. Make a changed copy: replace\({key}=…\)"
    ):
        setattr(spec, key, value)
    with pytest.raises(SpecError, match=r"resources\.num_workers: cannot be changed"):
        spec.resources.num_workers = 3
    assert (spec.method, spec.run_dir, spec.world_size) == ("sft", "./runs/run", 2)


def test_a_spec_gives_a_changed_copy_that_is_checked_as_a_whole():
    spec = JobSpec(method="sft", name="run", dataset_path="d", lora_r=8, resources={"num_workers": 2})
    other = spec.replace(name="other", lora_r=4)
    assert (other.run_dir, other.config.lora_r, other.world_size) == ("./runs/other", 4, 2)
    assert (spec.run_dir, spec.config.lora_r) == ("./runs/run", 8)
    with pytest.raises(SpecError, match="Did you mean other-run"):
        spec.replace(name="Other Run")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["method", "name", "resources", "beta", "lora_r", "report_to", "x"]), values
    )
)
def test_whatever_stands_in_a_spec_the_answer_is_a_spec_error(mapping):
    with pytest.raises(SpecError):
        parse_spec(mapping)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_whatever_the_file_holds_the_answer_is_a_spec_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(SpecError):
        load_spec(path)


def test_a_run_named_like_a_number_keeps_its_name(write):
    spec = JobSpec(method="sft", name="12345e7", dataset_path="1e400", model_revision="1e5")
    again = load_spec(write(spec.to_yaml()))
    assert (again.name, again.config.dataset_path, again.config.model_revision) == ("12345e7", "1e400", "1e5")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("name: 007", 'name: must be text, got 007. Put it in quotes: "007".'),
        ("name: 1e5", 'name: must be text, got 1e5. Put it in quotes: "1e5".'),
        ("name: 1.5", 'Write "1-5". Names have lower-case letters, digits and inner hyphens.'),
        ("name: null", 'A run that is called null needs quotes: "null".'),
        ("name: 123!", "Did you mean '123'?"),
        ("model_revision: 0012", 'Put it in quotes: "0012".'),
        ("dataset_path:", "required, but not set. Example: dataset_path: data/train.jsonl."),
        ("max_steps: 010", "must be a whole number, got 010. Write 10."),
        ('max_steps: "٣"', "Write 3 without quotes."),
        ("report_to: all", "Name those you want, such as [tensorboard]."),
        ("torch_dtype: fp32", "Did you mean float32?"),
        ("warmup: 100", "Did you mean warmup_ratio? It must be < 1, got 100."),
    ],
)
def test_a_value_is_named_as_it_was_written_and_the_advice_can_be_followed(write, line, said):
    key = line.split(":")[0]
    rest = "".join(kept for kept in SPEC.splitlines(True) if kept.split(":")[0] != key)
    assert said in problems_of(write(rest + line))[key]


@pytest.mark.parametrize("name", ["yes", "no", "on", "2026-01-01", "12e", "a-1e5"])
def test_names_that_other_readers_take_for_something_else_are_texts(write, name):
    assert load_spec(write(SPEC.replace("arabic-dpo", name))).name == name


def test_an_override_of_a_text_needs_no_quotes(write):
    spec = load_spec(
        write(SPEC), ["name=007", "model_revision=1e5", "ref_model_name=null", "storage_path=2026"]
    )
    assert (spec.name, spec.config.model_revision, spec.storage_path) == ("007", "1e5", "2026")
    assert spec.config.ref_model_name is None


@pytest.mark.parametrize(
    ("written", "read"),
    [("none", []), ("[none]", []), ("wandb", ["wandb"]), ("[tensorboard]", ["tensorboard"])],
)
def test_trackers_are_named_as_neighbouring_tools_name_them(write, written, read):
    assert load_spec(write(f"{SPEC}report_to: {written}\n")).config.report_to == read
