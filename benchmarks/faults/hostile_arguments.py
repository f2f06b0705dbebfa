"""Arguments that no command can do what they say with."""

from benchmarks.faults.contents import copy
from benchmarks.faults.forked import Program
from benchmarks.faults.hostile_cases import Case
from benchmarks.faults.trials import Place

RUNS = (
    "--threads 2147483648", "--threads 0", "--threads 1000000", "--num 0", "--num 1000000000",
    "--num 99999999999999999999", "--steps 0", "--steps -1", "--seed -1",
    f"--seed {2**200}", f"--scales {'3,' * 200}3", f"--scales {'x' * 300}", "--scales 3,,5",
    "--scales 4", "--scales \uff13", "--scales -3", f"--scales {10**30 + 1}", "--scales .",
    "--scales /dev/zero", "--k 0", f"--k {10**18}", f"--nprobe {10**18}", "--nprobe 0",
    "--tail -1", f"--tail {10**18}", "--tolerance nan", "--tolerance -1", "--tolerance inf",
    f"--label {10**30}", "--label -1", "--label 99", "--machine x", "--schedule x",
    "--out /proc/x", "--out /dev/null", "--out /dev/full/x", f"--out {'x' * 300}",
    "--out scales.txt/x", "--noise /dev/null", "--noise .", "--index /dev/zero", "--index .",
    "--index /proc", "--device cuda:99", "--device x", "--strict-scales --scales 3,9",
    "--exact --nprobe 5", "--boundary circular",
)  # fmt: skip
BUILDS = (
    "--limit 0", "--limit 99999999999999999999", "--resolution 0", "--resolution -5",
    "--resolution 99999999", "--resolution 1x", "--resolution 1x99999999999", "--resolution \uff17",
    "--boundary x", "--scales 4", f"--scales {10**30 + 1}", "--scales 3,x", "--scales 99",
    f"--seed {2**200}", "--out /proc/x", "--out /dev/null", f"--out {'y' * 300}", "--out .",
    "--out /", "--dataset npz:", "--dataset folder:", "--dataset npz:/dev/zero",
    "--dataset npz:/dev/null", "--dataset folder:/dev/null", "--dataset folder:/proc/self/fd",
    "--dataset x", f"--dataset {'z' * 300}",
)  # fmt: skip
TRAININGS = (
    "--batch-size 0", "--batch-size 999999999999", "--learning-rate nan", "--learning-rate inf",
    "--learning-rate -1", "--learning-rate 1e30", "--steps 0", "--save-every 0", "--precision x",
    "--network x", "--padding x", "--conditional", "--out /proc/x", "--preset x",
)  # fmt: skip
OTHERS = (
    "sampler explain .", "sampler explain run --samples 0,99", "sampler explain run --samples 1,,2",
    "sampler explain run --samples -1", "sampler plot .", "sampler plot run --out /proc/x",
    "sampler leave-out run --sample 99", "sampler leave-out run --sample 1 --top 0",
    "sampler leave-out run --sample 1 --top 99999999999999999999",
    "sampler leave-out run --sample 1 --images 0,99999999999999999999",
    "patchindex verify .", "patchindex verify /dev/null", "patchindex info /proc",
    "patchindex info nowhere --json", "sampler compare --network nowhere",
    "sampler calibrate --dataset sample --network . --num 0", "sampler verify --index . --num 0",
    "patchindex query --index . --image . --pixel 99999999999999999999,0 --scale 3 --t 0.5",
)  # fmt: skip


def wild_arguments(place: Place, variant: int) -> Case:
    """A command with one argument too wild."""
    (place.folder / "scales.txt").write_text("[3]\n")
    stage = place.stage
    commands: list[tuple[Program, tuple[str, ...]]] = []
    sample = ("run", "--index", str(stage.index), "--num", "1", "--steps", "2", "--scales", "3,5",
              "--out", "found")  # fmt: skip
    commands += [("sampler", (*sample, *wild.split(" "))) for wild in RUNS]
    commands += [("patchindex", (*stage.build(), *wild.split(" "))) for wild in BUILDS]
    commands += [("sampler", (*stage.train(4, 2), *wild.split(" "))) for wild in TRAININGS]
    for line in OTHERS:
        first, *others = line.split(" ")
        commands.append(("sampler" if first == "sampler" else "patchindex", tuple(others)))
    # 7 and the number of commands share no factor: each comes once
    program, arguments = commands[(variant * 7) % len(commands)]
    if "run" in arguments[1:]:
        copy(stage.known["traced"].folder / "run", place.folder / "run")
    return Case(f"{program} {' '.join(arguments)}"[-200:], program, arguments)
