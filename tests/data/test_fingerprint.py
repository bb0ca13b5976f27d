# SPDX-License-Identifier: Apache-2.0
import os

from datasets import Dataset

from tadrib.training.data.fingerprint import fingerprint


def test_a_fingerprint_is_of_the_content_wherever_it_lies(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    before = {name: fingerprint(name) for name in (str(rows), f"file://{rows}")}
    os.utime(rows, (1, 1))
    assert fingerprint(str(rows)) == before[str(rows)]

    rows.write_text("[]\n")

    assert all(fingerprint(name) != found for name, found in before.items())
    assert None not in before.values()


def test_a_folder_of_splits_has_one_and_a_name_on_a_hub_has_none(tmp_path):
    Dataset.from_list([{"a": 1}]).save_to_disk(str(tmp_path / "table"))
    whole = fingerprint(str(tmp_path / "table"))
    assert whole is not None
    assert fingerprint(f"{tmp_path / 'table'}:train") == whole
    assert fingerprint("org/name:train") is None
    assert fingerprint(f"file://{tmp_path}/none.jsonl") is None
    (tmp_path / "table" / "state.json").write_text("{}")
    assert fingerprint(str(tmp_path / "table")) != whole
