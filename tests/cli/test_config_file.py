"""Options from a file: what may be in it, what wins, and the file that makes results again."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from cli.sampler import main
from patchindex import ImageSet, IndexConfig, build_index
from sampler.results.run_result import read_run

FEW = {"dataset": "sample", "limit": 24, "resolution": 8, "device": "cpu"}
RUN = FEW | {"scales": 3, "steps": 2, "num": 2}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result


def file_of(folder: Path, options: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(options if isinstance(options, str) else yaml.safe_dump(options))
    return path


def kept(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "few.zarr"
    build_index(ImageSet.load("sample", limit=24, resolution="8"), IndexConfig(scales=(3, 5)), path)
    return path


def test_a_file_says_what_the_command_line_could(tmp_path: Path) -> None:
    options = RUN | {"seed": 3, "reference-steps": False, "sigmas": None}
    succeed("run", "--config", file_of(tmp_path, options), "--out", tmp_path / "a")
    line = [word for name, value in RUN.items() for word in (f"--{name}", value)]
    succeed("run", *line, "--seed", 3, "--out", tmp_path / "b")
    assert (tmp_path / "a/samples.npy").read_bytes() == (tmp_path / "b/samples.npy").read_bytes()
    assert kept(tmp_path / "a") == kept(tmp_path / "b")


def test_the_command_line_wins(tmp_path: Path) -> None:
    path = file_of(tmp_path, RUN | {"seed": 3, "out": str(tmp_path / "elsewhere")})
    succeed("run", "--seed", 4, "--config", path, "--num", 1, "--out", tmp_path / "out")
    config = read_run(tmp_path / "out/run.json").config
    assert (config.seed, config.num, config.steps) == (4, 1, 2)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("in_file", "on_line", "wanted"),
    [
        ({"steps": 2, "schedule": "linear"}, ["--sigmas", "3,1,0.2"], {"sigmas": "3,1,0.2"}),
        ({"sigmas": [3, 1.5]}, ["--steps", 2], {"steps": 2}),
        ({"index": "gone.zarr", "exact": True}, ["--dataset", "sample"], {"dataset": "sample"}),
    ],
)
def test_it_wins_over_what_does_not_go_with_it_too(tmp_path, in_file, on_line, wanted) -> None:
    others = {"scales": 3, "num": 1, "limit": 24, "resolution": 8, "device": "cpu"}
    if "--dataset" not in on_line:
        others["dataset"] = "sample"
    succeed("run", "--config", file_of(tmp_path, others | in_file), *on_line, "--out", tmp_path)
    found = kept(tmp_path)
    assert wanted.items() <= found.items()
    assert not found.keys() & in_file.keys() - wanted.keys() - {"schedule", "exact"}


def test_an_index_on_the_command_line_wins_over_a_dataset_in_the_file(tmp_path, index) -> None:
    path = file_of(tmp_path, RUN | {"boundary": "circular"})
    succeed("run", "--config", path, "--index", index, "--out", tmp_path / "out")
    found = kept(tmp_path / "out")
    assert found["index"] == str(index)
    assert not found.keys() & {"dataset", "limit", "resolution", "boundary"}


@pytest.mark.parametrize(
    "options",
    [
        [],  # a small index, which is summed exactly
        ["--retrieve", "--k", 8, "--tail", 16],
        ["--tolerance", 0.5, "--parts", 1, "--sampler", "heun"],
        ["--machine", "ls", "--label", 3],
        ["--sigmas", "5,1,0.3", "--trace"],
        ["--reference-steps", "--steps", 3, "--strict-scales", "--scales", "3,5"],
    ],
)
def test_what_was_resolved_makes_the_same_run_again(tmp_path, index, home, options) -> None:
    steps = [] if "--sigmas" in options or "--steps" in options else ["--steps", 2]
    line = ["--index", index, "--num", 2, "--device", "cpu", *steps, *options]
    succeed("run", *line, "--out", tmp_path / "a")
    succeed("run", "--config", tmp_path / "a/config.yaml", "--out", tmp_path / "b")
    assert (tmp_path / "a/samples.npy").read_bytes() == (tmp_path / "b/samples.npy").read_bytes()
    assert kept(tmp_path / "a") == kept(tmp_path / "b")
    first, again = (read_run(tmp_path / name / "run.json") for name in "ab")
    assert first.config == again.config
    assert (first.trace is None) == (again.trace is None)


def test_the_newest_index_is_named_so_that_a_newer_one_changes_nothing(tmp_path, home) -> None:
    images = ImageSet.load("sample", limit=24, resolution="8")
    build_index(images, IndexConfig(scales=(3,)), home / "indices" / "old.zarr")
    succeed("run", "--num", 1, "--steps", 2, "--device", "cpu", "--out", tmp_path / "a")
    build_index(images.select(range(9)) if hasattr(images, "select") else
                ImageSet.load("sample", limit=9, resolution="8"), IndexConfig(scales=(3,)),
                home / "indices" / "new.zarr")  # fmt: skip
    succeed("run", "--config", tmp_path / "a/config.yaml", "--out", tmp_path / "b")
    assert (tmp_path / "a/samples.npy").read_bytes() == (tmp_path / "b/samples.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "file"),
    [
        ("compare", {"network-steps": [2, 3], "baseline": ["wiener", "pspc"]}, "images.npz"),
        ("calibrate", {"candidates": [3, 5], "boundary": "circular"}, "scales.yaml"),
    ],
)
def test_studies_are_made_again_too(tmp_path, name, options, file) -> None:
    settings = FEW | {"num": 2, "steps": 2} | options
    if name == "compare":
        settings |= {"network": str(network(tmp_path)), "scales": "3,5"}
    succeed(name, "--config", file_of(tmp_path, settings), "--out", tmp_path / "a")
    succeed(name, "--config", tmp_path / "a/config.yaml", "--out", tmp_path / "b")
    if file.endswith(".npz"):
        first, again = (np.load(tmp_path / folder / file) for folder in "ab")
        assert set(first) >= {"network_2", "network_3", "pspc", "wiener"}
        assert all(np.array_equal(first[key], again[key]) for key in first)
    else:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert kept(tmp_path / "a") == kept(tmp_path / "b")


def network(folder: Path) -> Path:
    """A small one, trained for a moment."""
    few = [word for key, value in FEW.items() for word in (f"--{key}", value)]
    succeed("train", *few, "--gradient-steps", 1, "--batch-size", 2, "--out", folder / "net")
    return folder / "net"


def test_a_run_without_the_file_leaves_none_of_another_run(tmp_path: Path) -> None:
    succeed("run", "--config", file_of(tmp_path, RUN), "--out", tmp_path)
    succeed("run", "--config", tmp_path / "config.yaml", "--overwrite", "--seed", 9,
            "--out", tmp_path)  # fmt: skip
    assert kept(tmp_path)["seed"] == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 20}, "mine.yaml: run has no option 'step'. Did you mean steps"),
        ({"network-steps": 3}, "mine.yaml: run has no option 'network-steps'. "),
        ({"zzz": 1}, "has no option 'zzz'. See --help for all."),
        ({5: 1}, "has no option 5. See --help for all."),
        ({"config": "other.yaml"}, "has no option 'config'"),
        ({"steps": "many"}, "mine.yaml: steps is 'many': 'many' is not a valid integer. Give a w"),
        ({"steps": 2.5}, "mine.yaml: steps is 2.5: '2.5' is not a valid integer. Give a whole n"),
        ({"steps": True}, "mine.yaml: steps is True. Give a whole number."),
        ({"tolerance": [1]}, "mine.yaml: tolerance is [1]. Give a number."),
        ({"exact": "yes"}, "mine.yaml: exact is 'yes'. Give true or false."),
        ({"machine": {"a": 1}}, "mine.yaml: machine is {'a': 1}. Give a text."),
        ({"limit": 0}, "mine.yaml: limit is 0: 0 is not in the range x>=1. Give a whole number."),
        ({"sigmas": [1, None]}, "mine.yaml: sigmas is None. Give a text."),
        ({"seed": "2026-01-01T00:00:00"}, "is not a valid integer"),
        (["steps"], "mine.yaml has no `option: value` lines, such as `steps: 20`."),
        ("a: b: c", "mine.yaml is no YAML file of options: mapping values are not allowed here"),
        ("[" * 5000, "mine.yaml is no YAML file of options: "),
        ({"machine": "em"}, "Error: machine is 'em'. Give one of els, ls, is."),
        ({"sigmas": [3, 1], "steps": 2}, "both --sigmas and --steps were given."),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_mistakes_in_a_file_are_one_line_before_any_work(tmp_path, options, message) -> None:
    if isinstance(options, dict):
        options = FEW | options
    result = call("run", "--config", file_of(tmp_path, options), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    result = call("run", "--config", tmp_path / "no.yaml")
    assert result.exit_code == 1
    assert "no.yaml cannot be read (No such file or directory). Give a YAML" in result.stderr
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    assert "is too large to be a file of options" in call(
        "run", "--config", tmp_path / "large.yaml"
    ).stderr  # fmt: skip


def test_numbers_that_yaml_reads_as_text_are_numbers(tmp_path: Path) -> None:
    path = file_of(tmp_path, "".join(f"{key}: {value}\n" for key, value in RUN.items())
                   + "tolerance: 1e-3\n")  # fmt: skip
    succeed("run", "--config", path, "--out", tmp_path / "out")
    assert kept(tmp_path / "out")["tolerance"] == 1e-3
