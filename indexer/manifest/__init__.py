"""Reading a manifest: which clips, with which captions, in the ways people keep them.

CSV (with a header, as spreadsheets write it too), JSON Lines, Parquet, or a folder with a `metadata.jsonl` or
`metadata.csv` (the Hugging Face video-folder convention). A row needs a video and a caption; an `id` is optional
and must be unique; every other column is kept as the clip's metadata. Names of columns are taken in any case. Paths
are relative to the folder that the manifest was named in, even where the manifest is a link.

`reading` finds the manifest and goes through its rows. `spreadsheets`, `json_lines` and `parquet` read the
forms, `curators` what NeMo Curator and Data-Juicer write. `rows` and `values` make a clip of a row, `locating`
finds its file, `refusing` says what is wrong.
"""

from motiontrace.indexer.manifest.locating import manifest_folder
from motiontrace.indexer.manifest.reading import is_manifest_folder, read_manifest, require_files
from motiontrace.indexer.manifest.refusing import ManifestError, RefusedRow, by_reason
from motiontrace.indexer.manifest.rows import ManifestRow

__all__ = [
    "ManifestError",
    "ManifestRow",
    "RefusedRow",
    "by_reason",
    "is_manifest_folder",
    "manifest_folder",
    "read_manifest",
    "require_files",
]
