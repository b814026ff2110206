"""Tests of report pages in a real browser, after real runs of each kind."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from albert_tf.io.errors import InputError
from albert_tf.report import collect, page
from albert_tf.run import run
from albert_tf.tasks.custom.task import CustomTask
from albert_tf.tasks.glue.task import ClassifierTask
from albert_tf.tasks.pretraining.task import PretrainingTask
from albert_tf.tasks.race.task import RaceTask
from albert_tf.tasks.squad import report as squad_report
from albert_tf.tasks.squad.data import Answer, Question
from albert_tf.tasks.squad.v1 import SquadV1Task
from albert_tf.tasks.squad.v2 import SquadV2Task
from browser import console, open_browser, requests_of
from golden import checkpoint_of
from scripts import SAMPLE_MODEL, SAMPLE_PREDICT, load, run_script
from task_factory import make_settings
from tasks.custom.files import write_rows

SCRIPT = "</script><script>document.title = 'run'</script>"
NASTY_PASSAGE = f"😀 A page with {SCRIPT} & <b>bold</b> text tells of Zoë's lamp."
NASTY_QUESTION = f"Whose lamp is in <i>{SCRIPT}</i>?"
PAGES = {
    "squad": [
        "Run",
        "Curves",
        "Data",
        "F1 and exact match by kind of question",
        "Probabilities",
        "Questions",
    ],
    "squad_v2": [
        "Run",
        "Curves",
        "Data",
        "F1 and exact match by kind of question",
        "Questions without an answer",
        "Probabilities",
        "Questions",
    ],
    "race": ["Run", "Curves", "Data", "Labels", "Examples"],
    "classifier": ["Run", "Curves", "Data", "Labels", "Examples"],
    "regression": ["Run", "Curves", "Data", "Scores", "Examples"],
    "pretraining": ["Run", "Curves", "Masked tokens and sentence order", "Examples"],
}


@pytest.fixture(scope="module")
def driver():
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Path of the sample's questions, and one about a passage with scripts."""
    data = load(SAMPLE_PREDICT)
    answers = [{"text": "Zoë's", "answer_start": NASTY_PASSAGE.index("Zoë")}]
    question = {"id": "nasty", "question": NASTY_QUESTION, "answers": answers}
    data["data"][0]["paragraphs"].append({"context": NASTY_PASSAGE, "qas": [question]})
    path = tmp_path_factory.mktemp("questions") / "questions.json"
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, questions, pretraining_records):
    """Output directories of short runs, by kind."""
    root = tmp_path_factory.mktemp("runs")
    short = {"write_report": True, "save_checkpoints_steps": 2, "save_summary_steps": 1}
    scores = [{"said": "A lamp.", "meant": f"Lamp {n}.", "score": n} for n in range(3)]
    own_file = write_rows(root / "scores.csv", scores)
    own_scores = {
        "task_name": None,
        "data_dir": None,
        "do_predict": False,
        "regression": True,
        "train_file": own_file,
        "dev_file": own_file,
        "label_column": "score",
        "text_column": "said",
        "second_text_column": "meant",
        "init_checkpoint": checkpoint_of("regression"),
    }
    tasks = {
        "squad": ("squad", SquadV1Task, {"train_steps": 4, "predict_file": questions}),
        "squad_v2": ("squad_v2", SquadV2Task, {"train_steps": 4}),
        "race": ("race", RaceTask, {"train_step": 4}),
        "classifier": ("classifier", ClassifierTask, {"train_step": 4}),
        "regression": ("classifier", CustomTask, {"train_step": 4, **own_scores}),
        "pretraining": (
            "pretraining",
            PretrainingTask,
            {
                "num_train_steps": 4,
                "input_file": pretraining_records,
                "spm_model_file": SAMPLE_MODEL,
            },
        ),
    }
    for kind, (script, task, changes) in tasks.items():
        run.run(task, make_settings(script, root / kind, **short, **changes))
    return {kind: root / kind for kind in tasks}


def show(driver, path: Path):
    driver.get((path / "report.html" if path.is_dir() else path).as_uri())


def shown_titles(driver):
    return [node.text for node in driver.find_elements(By.CSS_SELECTOR, ".items .title")]


def status(driver):
    return driver.find_element(By.CSS_SELECTOR, ".count").text


@pytest.mark.parametrize("kind", PAGES)
def test_a_run_leaves_a_page_without_errors_or_requests(driver, runs, kind):
    requests_of(driver)
    show(driver, runs[kind])
    assert [node.text for node in driver.find_elements(By.TAG_NAME, "h2")] == PAGES[kind]
    for button in driver.find_elements(By.CSS_SELECTOR, "button.open"):
        button.click()
    assert driver.find_elements(By.CSS_SELECTOR, ".items .body")
    assert console(driver) == []
    assert requests_of(driver) == [(runs[kind] / "report.html").as_uri()]


@pytest.mark.parametrize("kind", PAGES)
def test_everything_has_a_name_for_screen_readers(driver, runs, kind):
    show(driver, runs[kind])
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "checkbox", "combobox", "image", "searchbox", "spinbutton", "link", "search"}
    found = [
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if node.get("role", {}).get("value") in roles and not node["ignored"]
    ]
    assert {role for role, _ in found} >= {"button", "image", "searchbox", "spinbutton", "link"}
    assert all(name for _, name in found)
    ids = [node.get_attribute("id") for node in driver.find_elements(By.CSS_SELECTOR, "[id]")]
    assert len(ids) == len(set(ids))


def test_the_head_tells_of_the_run(driver, runs):
    show(driver, runs["squad"])
    results = load(runs["squad"] / "eval_results.json")
    tables = driver.find_elements(By.CSS_SELECTOR, "section:first-of-type table")
    values = {
        row.find_element(By.TAG_NAME, "th").text: row.find_element(By.TAG_NAME, "td").text
        for table in tables
        for row in table.find_elements(By.TAG_NAME, "tr")
    }
    assert values["f1"] == f"{results['f1']:.4g}"
    assert values["task"] == "SQuAD v1.1"
    assert values["max_seq_length"] == "96"
    assert "device" in values
    assert "predict_batch_size" not in values
    assert values["model"].startswith("19,042 parameters")
    assert re.fullmatch(r"0:0\d:\d\d", values["time spent"])
    assert values["python"]
    assert results["best_checkpoint"] in tables[0].text


def test_text_of_the_data_is_shown_and_not_run(driver, runs):
    show(driver, runs["squad"])
    driver.find_element(By.NAME, "search").send_keys("zoë's bold", Keys.ENTER)
    assert shown_titles(driver) == [NASTY_QUESTION]
    summary = driver.find_element(By.CSS_SELECTOR, ".items summary")
    summary.send_keys(Keys.ENTER)  # opens by the keyboard
    passage = driver.find_element(By.CSS_SELECTOR, ".passage")
    text = driver.execute_script(
        "const copy = arguments[0].cloneNode(true);"
        "copy.querySelectorAll('sup').forEach((mark) => mark.remove());"
        "return copy.textContent;",
        passage,
    )
    assert text == NASTY_PASSAGE
    true = passage.find_elements(By.CSS_SELECTOR, "mark.span-true")
    assert "".join(re.sub("[✓123 ]", "", mark.text) for mark in true) == "Zoë's"
    assert driver.title == "SQuAD v1.1: squad"


def test_filters_and_search(driver, runs):
    show(driver, runs["squad"])
    assert status(driver) == "1 to 25 of 43 matching, 43 in total"
    wrong = driver.find_element(By.CSS_SELECTOR, "input[value='wrong']")
    wrong.click()
    assert "wrong" not in {s.text for s in driver.find_elements(By.CSS_SELECTOR, ".state")}
    wrong.click()
    Select(driver.find_element(By.NAME, "filter-0")).select_by_visible_text("how many")
    titles = shown_titles(driver)
    assert titles
    assert {squad_report.question_word(title) for title in titles} == {"how many"}
    search = driver.find_element(By.NAME, "search")
    search.send_keys("no such words", Keys.ENTER)
    assert status(driver) == "None of 43 match."


def test_labels_and_scores(driver, runs):
    show(driver, runs["classifier"])
    counts = [int(n.text) for n in driver.find_elements(By.CSS_SELECTOR, ".matrix .number")]
    assert sum(counts) == 5
    wrong = counts[1] + counts[2]
    states = [node.text for node in driver.find_elements(By.CSS_SELECTOR, ".items .state")]
    assert states == ["wrong"] * wrong + ["right"] * (5 - wrong)
    show(driver, runs["regression"])
    differences = [
        abs(float(a.split()[1]) - float(b.split()[1]))
        for a, b, _ in (
            [fact.text for fact in item.find_elements(By.CSS_SELECTOR, ".fact")]
            for item in driver.find_elements(By.CSS_SELECTOR, ".items li")
        )
    ]
    assert differences == sorted(differences, reverse=True)
    assert len(differences) == 3


def test_masked_pieces_have_five_guesses_each(driver, runs):
    show(driver, runs["pretraining"])
    driver.find_element(By.CSS_SELECTOR, ".items summary").click()
    rows = driver.find_elements(By.CSS_SELECTOR, ".items .body tbody tr")
    guesses = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]
    assert 1 <= len(rows) <= 10
    assert all(len(cells) == 6 for cells in guesses)
    assert all(re.fullmatch(r".+ \(\d+%\)", guess) for cells in guesses for guess in cells[1:])
    masks = driver.find_elements(By.CSS_SELECTOR, ".items mark")
    assert len(masks) == len(rows)


def test_light_dark_phone_and_print(driver, runs):
    def paper():
        script = "return getComputedStyle(document.body).backgroundColor"
        return driver.execute_script(script)

    def emulate(scheme, width):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        show(driver, runs["squad"])

    emulate("light", 390)
    assert paper() == "rgb(255, 255, 255)"
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
    emulate("dark", 1200)
    assert paper() == "rgb(20, 23, 27)"
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".items details[open] .body")) == 25
    emulate("light", 1200)


def test_colours_have_the_contrast_that_readers_need():
    """At least 4.5 to 1 for text, and 3 to 1 for lines of charts (WCAG 2.2, 1.4.3 and 1.4.11)."""
    css = (Path(page.__file__).parent / "templates/page.css").read_text()
    schemes = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in css.split("@media")[:2]]

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))

    def contrast(one, other):
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    for colours in schemes:
        for paper in ("paper", "panel"):
            for text in ("ink", "faint", "link", "good", "middling", "bad"):
                assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
            for series in range(1, 5):
                assert contrast(colours[f"series-{series}"], colours[paper]) >= 3
        for marked in ("true-paper", "best-paper", "other-paper"):
            assert contrast(colours["ink"], colours[marked]) >= 4.5


def test_a_prediction_has_a_page_of_its_own(driver, runs):
    squad, folder = runs["squad"], runs["squad"] / "predictions/sample_squad"
    before = {path: path.read_bytes() for path in squad.glob("*") if path.is_file()}
    flags = {"do_train": False, "init_checkpoint": None, "write_report": True}
    run.run(SquadV1Task, make_settings("squad", squad, **flags))
    page_text = (folder / "report.html").read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in squad.glob("*") if path.is_file()} == before

    show(driver, folder)
    titles = [node.text for node in driver.find_elements(By.TAG_NAME, "h2")]
    assert titles == [title for title in PAGES["squad"] if title != "Curves"]
    rows = {
        row.find_element(By.TAG_NAME, "th").text: row.find_element(By.TAG_NAME, "td").text
        for row in driver.find_elements(By.CSS_SELECTOR, "tbody tr")
        if row.find_elements(By.TAG_NAME, "th")
    }
    assert rows["starts from"] == f"{squad}/model.ckpt-best"
    assert rows["evaluation"] == f"{SAMPLE_PREDICT}: 42 examples"
    assert rows["model"].startswith("19,042 parameters, ")
    assert "steps" not in rows

    (folder / "report.html").unlink()
    assert run_script("report.py", {"output_dir": folder}).returncode == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == page_text


def test_report_py_makes_the_same_page_again(runs):
    path = runs["squad"] / "report.html"
    before = path.read_bytes()
    path.unlink()
    result = run_script("report.py", {"output_dir": runs["squad"]})
    assert (result.returncode, result.stdout) == (0, f"{path}\n")
    assert path.read_bytes() == before


def test_a_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"run\.json: no record of a run; give the --output_dir"):
        collect.write(str(tmp_path))


def test_a_run_ends_well_if_its_page_cannot_be_written(runs, tmp_path, caplog):
    shutil.copytree(runs["classifier"], tmp_path / "run", ignore=shutil.ignore_patterns("*.html"))
    (tmp_path / "run/report.html").mkdir()
    (tmp_path / "run/report.html/file").touch()
    collect.write_after_run(str(tmp_path / "run"))
    assert "report.html is not written" in caplog.text
    (tmp_path / "run/report_sections.json").write_text("{")
    collect.write_after_run(str(tmp_path / "run"))
    assert "report_sections.json: not valid JSON" in caplog.text
    assert "line 1 column 2 (char 1); remove it and repeat the run's command" in caplog.text


def test_ten_thousand_questions(driver, tmp_path):
    questions, answers = [], []
    for number in range(2000):
        passage = " ".join(f"Sentence {i} of passage {number} is 'made up'." for i in range(20))
        for i in range(5):
            start = passage.index(f"passage {number}")
            name = f"{number}-{i}"
            truth = (Answer(f"passage {number}", start),)
            questions.append(Question(name, f"Which part is {name}?", passage, truth))
            best = [{"text": "made up", "probability": 0.5}] * 3
            starts = [passage.index("made up")] * 3
            answers.append({"n_best": best, "starts": starts, "num_windows": 1})
    sections = [section.as_json() for section in squad_report.sections(questions, answers)]
    path = tmp_path / "large.html"
    path.write_text(page.render("Large", "", sections), encoding="utf-8")
    assert path.stat().st_size < 20_000_000
    show(driver, path)
    assert status(driver) == "1 to 25 of 10,000 matching, 10,000 in total"
    driver.find_element(By.CSS_SELECTOR, ".page").send_keys(Keys.CONTROL, "a")
    driver.find_element(By.CSS_SELECTOR, ".page").send_keys("400", Keys.ENTER)
    assert status(driver) == "9,976 to 10,000 of 10,000 matching, 10,000 in total"
    assert not driver.find_element(By.CSS_SELECTOR, ".next").is_enabled()
    driver.find_element(By.NAME, "search").send_keys("1234-4", Keys.ENTER)
    assert shown_titles(driver) == ["Which part is 1234-4?"]
    assert console(driver) == []
