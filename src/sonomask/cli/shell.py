"""The verb for someone's shell."""

from __future__ import annotations

from typing import Annotated, Literal


def completion(shell: Annotated[Literal["bash", "zsh", "tcsh"], "which shell"]) -> int:
    """Print a script that completes commands, options and their values in a shell.

    Examples:
      sonomask completion bash > ~/.local/share/bash-completion/completions/sonomask
      sonomask completion zsh > ~/.zfunc/_sonomask    (with ~/.zfunc in fpath)
    """
    import shtab

    from sonomask.cli.main import whole_parser

    print(shtab.complete(whole_parser(), shell))
    return 0


VERBS = (completion,)
