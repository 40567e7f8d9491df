"""Run `walkthrough.py` cell by cell and write `walkthrough.md` with what it prints and draws: `python docs/render.py`.

Cells are those of the percent format that editors know: `# %%` code, `# %% [markdown]` text.
"""

import contextlib
import io
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WIDTH = 1000  # pixels of a picture at most


def render(out: Path) -> str:
    """The page; pictures go to `out`."""
    parts: list[str] = []
    drawn: list[str] = []

    def show(picture, name, scale=1):
        drawn.append(f"![{name}](pictures/{name}.webp)")
        save(picture, out / f"{name}.webp", scale)

    world = {"show": show, "__name__": "walkthrough"}
    text = (HERE / "walkthrough.py").read_text(encoding="utf-8")
    for kind, body in re.findall(r"^# %%( \[markdown\])?\n(.*?)(?=^# %%|\Z)", text, re.S | re.M):
        if kind:
            parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().split("\n")))
            continue
        drawn.clear()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(body, "walkthrough.py", "exec"), world)  # noqa: S102 - our own page
        parts.append("```python\n" + re.sub(r"  # noqa.*", "", body).strip() + "\n```")
        if said.getvalue():
            parts.append("```text\n" + said.getvalue().rstrip() + "\n```")
        parts += drawn
    return "<!-- made by docs/render.py -->\n\n" + "\n\n".join(parts) + "\n"


def save(picture, path: Path, scale: int) -> None:
    """A file, an RGB array, or an array of numbers in grey."""
    if isinstance(picture, Path):
        image = Image.open(picture).convert("RGB")
    else:
        values = np.asarray(picture)
        if values.ndim == 2:
            values = (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)
        image = Image.fromarray(values)
    image = image.resize((image.width, image.height * scale))
    image.thumbnail((WIDTH, WIDTH))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=80)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    page = render(target / "pictures")
    (target / "walkthrough.md").write_text(page, encoding="utf-8")
