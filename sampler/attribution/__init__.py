"""Where the pixels of an image come from.

`attribution` asks it of whole pictures, whoever made them. Public modules: `picture` does that,
averaging as `draws` says; `attributed` and `picture_sources` say what comes back, `picture_files`
reads the pictures, `picture_folder` keeps the answer, and `shown` says what a page needs of it.
`pixel_query` asks for the sources of one pixel, `query_figure` shows them, `nearest_patches`
searches, `image_file` reads the image; `run_folder` opens a traced run, `leave_out` samples it
again without its sources, and the package `viewer` writes its page. `near_copies` finds copied
regions of any picture, by `copy_candidates` and `copy_regions`; `copy_null` scores held-out images
alike, `overlap` says which are none, and `copy_results` has settings and answers.
"""

from sampler.attribution.attributed import PictureAttribution, PictureAttributions
from sampler.attribution.picture import attribution

__all__ = [
    "PictureAttribution",
    "PictureAttributions",
    "attributed",
    "attribution",
    "copy_candidates",
    "copy_null",
    "copy_regions",
    "copy_results",
    "draws",
    "image_file",
    "leave_out",
    "near_copies",
    "nearest_patches",
    "overlap",
    "picture",
    "picture_files",
    "picture_folder",
    "picture_sources",
    "pixel_query",
    "query_figure",
    "run_folder",
    "shown",
]
