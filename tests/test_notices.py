# SPDX-License-Identifier: Apache-2.0
import io
import json

from tadrib.ray_jobs.driver.display import Display
from tadrib.ray_jobs.events import Note
from tadrib.ray_jobs.runs.display import facts
from tadrib.ray_jobs.runs.reading import read_status
from tadrib.training.notices import forwarded, warn
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.files import RunFiles
from tadrib.training.run.report import write_report
from tadrib.training.run.result import Result

TEXT = "chosen answers are 3 nats a token less likely; lower learning_rate"


def test_a_warning_is_received_inside_and_still_printed(capsys):
    received = []
    with forwarded(received.append):
        warn(TEXT)
        assert capsys.readouterr().err == f"{TEXT}\n"
    warn("after")
    assert received == [TEXT]


def test_a_workers_warning_stands_once_on_the_screen_and_in_the_result():
    screen = io.StringIO()
    with Display(screen) as display:
        for _ in range(3):
            display.show(Note(TEXT))
    assert screen.getvalue() == f"! {TEXT}\n"
    assert display.warnings == [TEXT]


def test_driver_and_worker_that_replace_the_same_value_for_other_reasons_say_it_once():
    with Display(io.StringIO()) as display:
        display.warn("torch_dtype: float32, because the spec asks for no GPU")
        display.warn("torch_dtype: float32, because this machine has no GPU")
        display.warn("torch_dtype: float16, because fp16 is on")
    assert [text[13:20] for text in display.warnings] == ["float32", "float16"]


def test_report_and_status_repeat_the_warnings_of_the_result(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_spec("method: dpo\n")
    result = Result(status="succeeded", name="run", method="dpo", warnings=[TEXT])
    run.write_result(result)

    assert json.loads(run.result_file.read_text())["warnings"] == [TEXT]
    assert f"<li>{TEXT}</li>" in write_report(run, result).read_text()
    assert ("warning", TEXT) in list(facts(read_status(RunFiles(run.location))))
