"""The first thing a stranger copies runs as it stands, only smaller."""

import re
from pathlib import Path

import matplotlib.pyplot as plt

README = Path(__file__).parents[1] / "README.md"


def test_example_runs(tmp_path, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL).group(1)
    statements = [line for line in example.splitlines() if line.strip() and not line.startswith("#")]
    assert len(statements) <= 15
    smaller = (
        example.replace("(400,", "(60, size=32,")
        .replace("max_epochs=10", "max_epochs=2")
        .replace("n_jobs=2", "n_jobs=1")
    )
    assert "(60, size=32," in smaller
    assert "max_epochs=2" in smaller
    monkeypatch.chdir(tmp_path)
    exec(compile(smaller, "README.md", "exec"), {"__name__": "__main__"})
    plt.close("all")
    assert "AUC" in capsys.readouterr().out
    assert (tmp_path / "region_sensitivity.png").stat().st_size > 10_000
