"""More than one machine: the workers of a Dask cluster as a crew, see `patchindex.crew`.

Dask does membership, transport and retries; here are the pickling of units, the checks that a
worker passes before it gets any, and copies of an index on workers' own disks. It needs the extra
`patchindex[cluster]`.
"""

from patchindex.cluster.connect import connect
from patchindex.cluster.staging import is_address, staged
from patchindex.cluster.worker import serve

__all__ = ["connect", "is_address", "serve", "staged"]
