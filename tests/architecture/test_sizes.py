"""A module over 400 lines is a question, over 600 a fault."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
QUESTION, FAULT = 400, 600


def sizes():
    for source in ("core", "plugins"):
        for path in sorted((ROOT / source).rglob("*.py")):
            yield str(path.relative_to(ROOT)), len(path.read_text().splitlines())


def test_no_module_is_too_long(record_property, capsys):
    questions = {name: lines for name, lines in sizes() if lines > QUESTION}
    record_property("questions", questions)
    with capsys.disabled():
        for name, lines in questions.items():
            print(f"\n{name}: {lines} lines; could it be two?", end="")
    faults = {name: lines for name, lines in questions.items() if lines > FAULT}
    assert faults == {}
