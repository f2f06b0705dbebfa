"""The claim of the project on what lies in the repository: retrieval is exact enough, and says so.

Over 2,000 real images, with the settings that a user gets who gives none.
"""

import numpy as np
import pytest

from patchindex import ImageSet, IndexConfig, build_index
from sampler.run import SamplerConfig
from sampler.studies.verify import TARGET_R2, VerifyConfig, plan_verification, verify

SCALES = (3, 5, 9)  # beyond, the default tail draws every one of so few images


@pytest.mark.slow
def test_retrieval_by_default_is_the_exact_posterior_and_its_intervals_hold(tmp_path) -> None:
    images = ImageSet.load("sample")
    index = build_index(images, IndexConfig(scales=SCALES), tmp_path / "sample.zarr")
    sampling = SamplerConfig(num=4, steps=10, scales=",".join(map(str, SCALES)))
    plan = plan_verification(index, VerifyConfig(sampling=sampling, recall_pixels=0, finals=True))
    found = verify(plan)
    assert len(images) == 2000
    assert [row.R2 >= TARGET_R2 for row in found.steps] == [True] * 10, found.steps
    estimated = [row for row in found.steps if row.coverage == row.coverage]
    assert len(estimated) >= 5
    # 95 % are promised; neighboring pixels share their draws, so that a step's share varies
    assert np.mean([row.coverage for row in estimated]) >= 0.93
    assert min(row.coverage for row in estimated) >= 0.85
    assert found.finals is not None
    assert found.finals.r_lowest >= 0.99
