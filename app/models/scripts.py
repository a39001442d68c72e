"""What the source inside a TorchScript program may say: no operator on files. Pure, but for torch.

PyTorch compiles and may run it while it loads, so the text itself is searched. An operator's name
could also be put together from pieces, which PyTorch's own writer never does.
"""

import re

from app.models.graphs import ON_FILES, NotRun

_ON_FILES = re.compile(rf"\b(?:{'|'.join(ON_FILES)})\b")
_PIECES = re.compile(r"[A-Za-z_][\"'](?:\s|\\\n|#[^\n]*\n)*[\"']")  # "sa" "ve"
_ESCAPE = re.compile(r"\\([0-7]{1,3})")  # "sa\166e"


def checked(part: bytes) -> bytes:
    """Return the source as it is.

    Raises:
        NotRun: it names an operator that reads or writes files, or hides a name.
    """
    text = part.decode()
    found = _ON_FILES.search(text) or _PIECES.search(text)
    found = found or next(filter(_hides_a_letter, _ESCAPE.finditer(text)), None)
    if found:
        raise NotRun(found[0])
    return part


def _hides_a_letter(escape: re.Match[str]) -> bool:
    character = chr(int(escape[1], 8) % 256)
    return character.isascii() and (character.isalpha() or character == "_")
