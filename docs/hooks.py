"""What the pages take from the code itself when they are built."""

from typing import Any

from sonomask.outputs.formats import FORMATS


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the table of formats where a page asks for it."""
    rows = "\n".join(f"| `{name}` | `NAME{info.suffix}` | {info.what} |" for name, info in FORMATS.items())
    return markdown.replace("<!-- formats -->", f"| format | file or folder | what |\n|---|---|---|\n{rows}")
