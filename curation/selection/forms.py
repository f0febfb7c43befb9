"""In which forms a selection is written."""

from enum import StrEnum


class Format(StrEnum):
    """What a selection is written as."""

    videofolder = "videofolder"  # Hugging Face datasets, finetrainers
    lists = "lists"  # diffusers' own scripts
    diffsynth = "diffsynth"
    captions = "captions"  # a text beside each video
    parquet = "parquet"  # one file


class Link(StrEnum):
    """How a folder gets its videos."""

    auto = "auto"  # a hard link, and where the file system has none a symbolic one
    hardlink = "hardlink"
    symlink = "symlink"
    copy = "copy"
    none = "none"  # the table names them where they lie
