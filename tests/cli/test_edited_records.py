"""Records of results that were edited or damaged: refused in one line that names it, or served."""

import copy
import json
import shutil

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from small_index import build_small
from traced_run import few_images, traced_run

from cli.sampler import main
from patchindex import UserError
from sampler.attribution.leave_out import PICTURES
from sampler.results.run_result import read_run
from sampler.results.study_results import read_verification

SERVED = 4  # of the accounts that are not refused, how many are explained and drawn
DEEP = json.loads("[" * 400 + "]" * 400)
VALUES = [
    None, True, -1, 0, 1.5, 7, 2**53 + 1, 2**64 - 1, -(2**63), 10**400, 1e308, 5e-324, float("nan"),
    float("inf"), "", "x", "a\0b", "\ud800", "\udcff", "$x^$", "n" * 10_000, [], {}, [1], [[]],
    {"": 1}, DEEP, "els", "ls", "is", "circular", [1, 16, 17], [3, 7, 9], [3], "folder:/nowhere",
]  # fmt: skip
GONE = object()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with a trace and a leave-out check."""
    folder = traced_run(tmp_path_factory.mktemp("runs"))
    assert invoke("leave-out", folder, "--top", 1).exit_code == 0
    return folder


@pytest.fixture
def run_dir(finished, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    index = build_small(folder / "small.zarr").path
    done = invoke("verify", "--index", index, "--steps", 2, "--num", 1, "--out", folder / "verify")
    assert done.exit_code == 0, done.output
    return folder / "verify"


def invoke(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def checked(result):
    """The last line of a command that ended well, or with one line."""
    assert result.exit_code in (0, 1), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 0 or result.stderr.splitlines()[-1].startswith("Error: ")
    return (result.stderr or result.stdout).splitlines()[-1]


def places(value, at=()):
    """Keys to each part of a record; of lists the first part alone, as the others are like it."""
    if at:
        yield at
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value[:1]) if isinstance(value, list) else parts:
        yield from places(part, (*at, key))


def edited(record, at, value):
    """The record with another value there, or without any."""
    changed = copy.deepcopy(record)
    part = changed
    for key in at[:-1]:
        part = part[key]
    if value is GONE:
        del part[at[-1]]
    else:
        part[at[-1]] = value
    return changed


def served(record, path, read):
    """Edits that are not refused; each other one is a line that names the file."""
    for at in places(record):
        for value in [*VALUES, GONE]:
            changed = edited(record, at, value)
            path.write_text(json.dumps(changed))
            try:
                read(path)
            except UserError as error:
                told = str(error)
            else:
                yield f"{at}: {str(value)[:40]!r}", changed
                continue
            assert str(path) in told, at
            assert len(told) < 1000, at


def some_of(taken, seed):
    """A few of the edits, in no order."""
    chosen = np.random.default_rng(seed).permutation(len(taken))[:SERVED]
    return [taken[number] for number in chosen]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["explain", "plot", "leave-out"])
def test_any_edit_of_a_run_is_refused_in_a_line_or_served(run_dir, command):
    file = run_dir / "run.json"
    taken = list(served(json.loads(file.read_text()), file, read_run))
    assert len(taken) > 100
    for _name, changed in some_of(taken, seed=len(command)):
        file.write_text(json.dumps(changed))
        checked(invoke(command, run_dir))


@pytest.mark.slow
def test_any_edit_of_a_verification_is_refused_in_a_line_or_served(verified, tmp_path):
    folder = shutil.copytree(verified, tmp_path / "verify")
    file = folder / "verify.json"
    taken = list(served(json.loads(file.read_text()), file, read_verification))
    for _name, changed in some_of(taken, seed=0):
        file.write_text(json.dumps(changed))
        checked(invoke("plot", folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "value", "told"),
    [
        (("steps", 0, "t"), 2, r"steps\[0\].t is 2, but should be a number from 0 to 1. Make"),
        (("config", "k"), "x", 'config.k is "x", but should be a whole number from 0'),
        (("config", "machine"), "ELS", 'machine is "ELS", but should be one of els, ls, is'),
        (("config", "num"), 2, "config.num is 2, but should be a whole number from 3 to 3"),
        (("config", "label"), 2**64 - 1, "config.label is 18446744073709551615, but should be"),
        (("source", "shape"), [1, 2], "source.shape is a list or part, but should be a list of 3"),
        (("source", "dataset"), "\ud800", r'source.dataset is "\\ud800", but should be text'),
        (("scales", "patch_sizes"), None, "scales.patch_sizes is null, but should be a list of 1"),
        (("steps", 0, "sigma"), float("nan"), r"steps\[0\].sigma is NaN, but should be a number"),
        (
            ("trace", "attribution", 0, "images", 0, "image"),
            60,
            r"images\[0\].image is 60, but sho",
        ),
        (("versions",), [], "versions is a list or part, but should be text under each key"),
        (("steps",), GONE, "run.json lacks steps: another version wrote it. Make the results"),
    ],
)
def test_an_edited_value_is_named_with_what_it_should_be(finished, tmp_path, at, value, told):
    record = json.loads((finished / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(edited(record, at, value)))
    with pytest.raises(UserError, match=told):
        read_run(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b"3", "holds int and no results"),
        (b"{}", "run.json lacks config: another version wrote it"),
        (b'{"schema_version": 3}', "has schema version 3, but this program reads up to 2"),
        (b'{"schema_version": []}', "schema_version is a list or part, but should be a whole num"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "plot", "leave-out"])
def test_a_file_that_is_no_record_is_one_line(tmp_path, command, content, told):
    (tmp_path / "run.json").write_bytes(content)
    assert told in checked(invoke(command, tmp_path))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((3, 1, 16, 16)),
        np.zeros((3, 1, 16, 17), np.float32),
        np.zeros((2, 1, 16, 16), np.float32),
        np.array(["x"]),
        np.float32(1),
    ],
)
def test_samples_of_another_run_are_one_line(run_dir, samples):
    np.save(run_dir / "samples.npy", samples)
    told = checked(invoke("leave-out", run_dir))
    assert "samples.npy does not hold the samples of the trace, float32 of (3, 1, 16, 16)" in told


@pytest.mark.parametrize("command", ["explain", "leave-out"])
def test_a_trace_that_names_images_that_are_not_there_is_one_line(run_dir, command):
    trace = zarr.open_group(run_dir / "trace.zarr", mode="r+")
    trace["image_numbers"][...] = 60
    trace["source_ids"][...] = 60 * 16 * 16
    shutil.rmtree(run_dir / "trace.zarr" / "chunk_crc32")  # as traces had none before
    told = checked(invoke(command, run_dir))
    assert (
        "trace.zarr names images from 60 to 60, but the run has 60. Run `sampler run --tr" in told
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"accounts": np.array("{")}, "cannot be read"),
        ({"accounts": np.array("{}")}, "does not hold float32 pictures"),
        ({"accounts": np.array("[3]")}, "accounts[0] is 3, but should be names and values"),
        ({"accounts": np.array("[{}]")}, "lacks accounts[0].sample"),
        ({"without": np.zeros(3, np.float32)}, "does not hold float32 pictures"),
        ({"control": np.array([{}], dtype=object)}, "cannot be read"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "leave-out"])
def test_edited_checks_are_one_line(run_dir, command, change, told):
    with np.load(run_dir / PICTURES) as held:
        arrays = dict(held)
    np.savez(run_dir / PICTURES, **(arrays | change))
    line = checked(invoke(command, run_dir))
    assert told in line
    assert PICTURES in line


def test_images_of_another_run_are_refused_before_its_trace_is_read(run_dir):
    record = json.loads((run_dir / "run.json").read_text())
    record["source"]["sha256"] = few_images().sha256[::-1]
    (run_dir / "run.json").write_text(json.dumps(record))
    assert "was made from 60 images of" in checked(invoke("explain", run_dir))
