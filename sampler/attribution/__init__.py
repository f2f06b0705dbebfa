"""Where the pixels of an image come from.

Public modules: `pixel_query` asks for the sources of one pixel, `query_figure` shows them,
`nearest_patches` searches, `image_file` reads the image; `run_folder` opens a traced run,
`leave_out` samples it again without its sources, and the package `viewer` writes its page.
"""

__all__ = [
    "image_file",
    "leave_out",
    "nearest_patches",
    "pixel_query",
    "query_figure",
    "run_folder",
]
