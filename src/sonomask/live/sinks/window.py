"""A window of the desktop."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from PIL import Image

from sonomask.errors import MediaError
from sonomask.live.segmenter import LiveMasks
from sonomask.live.sinks.base import Sink

__all__ = ["DesktopWindow"]


class DesktopWindow(Sink):
    """A window of the desktop, by tkinter.

    Raises:
        MediaError: There is no tkinter, or no display.
    """

    def __init__(self) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MediaError(
                f"A window needs tkinter, which this Python lacks ({error}). Use --page instead."
            ) from error
        try:
            self.root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MediaError(f"A window can't be opened ({error}). Use --page instead.") from error
        self.make_photo: Any = ImageTk.PhotoImage
        self.root.title("sonomask live")
        self.label = tkinter.Label(self.root, borderwidth=0)
        self.label.pack()
        self.root.protocol("WM_DELETE_WINDOW", self._close)

    def _close(self) -> None:
        self.closed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.root.destroy()

    def write(self, result: LiveMasks) -> None:
        """Show a picture."""
        photo = self.make_photo(Image.fromarray(result.drawn), master=self.root)
        self.label.configure(image=photo)
        self.label.image = photo  # type: ignore[attr-defined]  # else it is collected while it is shown
        self.beat()

    def beat(self) -> None:
        """Answer the desktop."""
        self.root.update()
