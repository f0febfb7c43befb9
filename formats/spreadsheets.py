"""CSV files that people open in spreadsheets."""

from __future__ import annotations

BOM = "\ufeff"
"""The byte order mark. Without it spreadsheets read UTF-8 as the old encoding of their country."""

# A cell that begins so is a formula to spreadsheets (OWASP, "CSV injection"), the wide letters in some countries.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def cell(text: str) -> str:
    """A text as a cell of a CSV file, in which spreadsheets see no formula.

    A quotation mark is put before one that would be one, and before one that begins with that mark itself: so whoever
    takes away one mark at the beginning has the text again.
    """
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text
