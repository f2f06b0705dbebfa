"""Attacks on builds, runs, trainings and files, counted: tried, held, fell. Needs POSIX (`fork`).

forked.py       one command in a forked copy of a process that has imported everything
changes.py      counts a command's changes of the file system, and kills it at the n-th
contents.py     what of a folder must be the same bits each time
stage.py        the undisturbed indexes, runs and networks that trials are held against
kills.py        SIGKILL at a change or a moment; SIGINT and SIGTERM
damages.py      altered files of an index, a run, a checkpoint and a network
readers.py      readers beside rebuilds
writers.py      two writers in one folder
limits.py       little memory, no disk, few descriptors, closed streams
hostile.py      crafted files and arguments
"""

import os

# A forked copy must find no threads of its parent: each library is told before it is loaded.
os.environ.update(
    OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="Agg"
)
