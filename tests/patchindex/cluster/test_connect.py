"""What is said of a cluster that cannot be connected to."""

import pytest

from patchindex.cluster import connect
from patchindex.errors import ClusterError


@pytest.mark.parametrize("by_file", [False, True])
def test_a_scheduler_of_tls_needs_certificates_and_the_message_names_them(tmp_path, by_file):
    address = "tls://127.0.0.1:9"
    if by_file:
        (tmp_path / "scheduler.json").write_text(f'{{"address": "{address}"}}')
        address = str(tmp_path / "scheduler.json")
    with (
        pytest.raises(ClusterError, match=r"speaks TLS.* \$DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        connect(address) as crew,
    ):
        crew.admit()
