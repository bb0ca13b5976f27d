# SPDX-License-Identifier: Apache-2.0
import pytest

from tadrib.training.errors import Problem


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("cannot be read: no such file..", "rows: cannot be read: no such file. Check it."),
        ("is 3.", "rows: is 3. Check it."),
        ("goes on...", "rows: goes on... Check it."),
    ],
)
def test_a_quoted_sentence_ends_in_one_full_stop(message, said):
    assert str(Problem("rows", message, "Check it.")) == said
