"""What the inner loop of the scan kernel costs, counted in the machine code that Triton makes.

Triton brings the compiler and disassembler of NVIDIA, so that no GPU is needed.
"""

import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import click
import triton

from patchindex.kernels.backend import INTERPRETER

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WARP = 32
CAPABILITY = 90  # of H100 and H200
# Results a clock of a multiprocessor whose four schedulers issue 128 lanes, by what the units
# execute (CUDA C++ Programming Guide, throughput of native arithmetic instructions, capability
# 9.0): what is not named here goes at 128.
RATES: dict[str, tuple[float, tuple[str, ...]]] = {
    "alu": (64, ("FMNMX", "FSEL", "FSETP", "SEL", "IADD3", "ISETP", "LOP3", "LEA", "SHF", "PRMT",
                 "IMNMX", "VIADD", "VIMNMX", "PLOP3", "IABS")),
    "mufu": (16, ("MUFU",)),
    "memory": (32, ("SHFL", "LDG", "STG", "LDS", "STS", "LDL", "STL", "LD", "ST")),
    "convert": (16, ("I2F", "F2I", "F2F", "I2FP", "F2FP")),
}  # fmt: skip
PRODUCT = "HGMMA"  # of matrices, by a group of four warps
MULTIPLIED = 2048  # float16 a clock of a multiprocessor of H100 and H200
ISSUED = 128  # lanes a clock of a multiprocessor

Instruction = tuple[int, str]  # address and text


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopCost:
    """The innermost loop of a kernel.

    Attributes:
        instructions: that a warp issues in one pass.
        slots: the same in issue slots of the busiest unit: no pass takes fewer clocks.
        busiest: that unit, `issue` for the schedulers.
        opcodes: how often each occurs, most frequent first.
    """

    instructions: int
    slots: float
    busiest: str
    opcodes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A kernel for the chip: registers and spilled bytes of a thread, its inner loop, its code."""

    registers: int
    stack_bytes: int
    shared_bytes: int
    loop: LoopCost
    code: list[Instruction]


def compiled(
    kernel: Any,
    constants: Mapping[str, Any],
    *,
    num_warps: int,
    types: Mapping[str, str],
) -> Compiled:
    """Compile a Triton kernel for the chip, and count its inner loop.

    Args:
        constants: what the kernel is compiled for.
        types: of its other arguments, by name; a 32-bit integer where none is given.
    """
    if os.environ.get(INTERPRETER) == "1":
        raise click.UsageError(f"Unset {INTERPRETER}: under the interpreter nothing is compiled.")
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415 - a GPU build's
    from triton.compiler import ASTSource  # noqa: PLC0415 - a GPU build's

    names = [name for name in kernel.arg_names if name not in constants]
    kinds = {name: types.get(name, "i32") for name in names}
    aligned = {
        (kernel.arg_names.index(name),): [["tt.divisibility", 16]]
        for name, kind in kinds.items()
        if kind.startswith("*")
    }
    made = triton.compile(
        ASTSource(kernel, kinds, constexprs=dict(constants), attrs=aligned),
        target=GPUTarget("cuda", CAPABILITY, WARP),
        options={"num_warps": num_warps, "enable_fp_fusion": True},
    )
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        usage, code = (dumped(option, file.name) for option in ("-res-usage", "-sass"))
    listing = list(instructions(code))
    return Compiled(
        registers=number_after("REG:", usage),
        stack_bytes=number_after("STACK:", usage),
        shared_bytes=int(made.metadata.shared),
        loop=loop_cost(innermost_loop(listing)),
        code=listing,
    )


def dumped(option: str, cubin: str) -> str:
    """What cuobjdump tells of a compiled kernel."""
    command = [str(TOOLS / "cuobjdump"), option, cubin]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout + done.stderr


def number_after(name: str, text: str) -> int:
    """The number behind a name."""
    found = re.search(re.escape(name) + r"(\d+)", text)
    if found is None:
        raise click.ClickException(f"cuobjdump says nothing of {name}")
    return int(found[1])


def instructions(code: str) -> Iterable[Instruction]:
    """Address and text of each instruction of a disassembly."""
    for address, text in re.findall(r"^\s+/\*([0-9a-f]{4,6})\*/\s+(.*?)\s*;", code, re.MULTILINE):
        yield int(address, 16), text


def innermost_loop(code: list[Instruction]) -> list[str]:
    """The instructions of the longest loop that holds no other."""
    inner = _innermost(loops_of(code))
    return [text for address, text in code if address in inner]


def loop_around(code: list[Instruction]) -> list[str]:
    """The instructions of the loop around that one, without it; none where there is none."""
    loops = loops_of(code)
    inner = _innermost(loops)
    around = [loop for loop in loops if loop != inner and _holds(loop, inner)]
    outer = min(around, key=len, default=range(0))
    return [text for address, text in code if address in outer and address not in inner]


def product_loop(code: list[Instruction], rounds: int) -> list[str]:
    """The instructions of one pass of the longest loop, with those of loops of products inside.

    Args:
        rounds: of a loop of products that was not unrolled.
    """
    loops = loops_of(code)
    longest = max(loops, key=len)
    inside = [
        loop
        for loop in loops
        if loop != longest
        and loop.start in longest
        and any(PRODUCT in text for address, text in code if address in loop)
    ]
    body = []
    for address, text in code:
        if address in longest:
            body += [text] * (rounds if any(address in loop for loop in inside) else 1)
    return body


def product_slots(body: list[str]) -> float:
    """Issue slots of a warp group in which the tensor cores do their products, and no less."""
    shapes = [re.search(r"\.(\d+)x(\d+)x(\d+)\b", text) for text in body if PRODUCT in text]
    multiplied = sum(prod(map(int, shape.groups())) for shape in shapes if shape)
    return multiplied / MULTIPLIED * ISSUED / WARP


def loops_of(code: list[Instruction]) -> list[range]:
    """The addresses between each jump back and where it leads."""
    loops = []
    for address, text in code:
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if jump and int(jump[1], 16) < address:
            loops.append(range(int(jump[1], 16), address + 1))
    return loops


def _innermost(loops: list[range]) -> range:
    """The longest loop that holds no other; an empty one where there is none."""
    innermost = [
        loop for loop in loops if not any(other != loop and _holds(loop, other) for other in loops)
    ]
    return max(innermost, key=len, default=range(0))


def _holds(loop: range, other: range) -> bool:
    """Whether a loop, which is not empty, lies within another."""
    return bool(other) and other.start in loop and other[-1] in loop


def loop_cost(body: list[str]) -> LoopCost:
    """Count a loop's instructions and the slots of its busiest unit."""
    opcodes = Counter(opcode(text) for text in body)
    slots = {"issue": float(len(body))}
    for unit, (rate, names) in RATES.items():
        slots[unit] = sum(opcodes[name] for name in names) * ISSUED / rate
    busiest = max(slots, key=lambda unit: slots[unit])
    return LoopCost(
        instructions=len(body),
        slots=slots[busiest],
        busiest=busiest,
        opcodes=dict(opcodes.most_common()),
    )


def opcode(text: str) -> str:
    """`FADD` of `@!P0 FADD.FTZ R1, R2, R3`."""
    return re.sub(r"^@!?U?P\w+\s+", "", text).split()[0].split(".")[0]
