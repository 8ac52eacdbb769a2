"""Makes the goldens of the quant blocks with the reference dequantiser.

    pip install gguf==0.19.0
    python make_quant_goldens.py

For each type, `<name>.blocks` holds whole blocks as in a GGUF file and `<name>.f32` their values as
little-endian f32, as `gguf.quants.dequantize` gives them. The first half of the blocks is random
with ordinary scales; in the second half the scales are extreme: zeros, subnormals, the largest
halves, infinities, both signs; all other bits stay random. Deterministic: fixed seed.

`encode.f32` holds values with outliers, and `<name>.encoded` the blocks that
`gguf.quants.quantize` makes of them, for the types whose encoder has nothing to search for.
"""

import warnings
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES, quants

HERE = Path(__file__).parent

# Byte offsets of the half-precision fields of each block.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [],
}
# 0, -0, smallest and largest subnormal, smallest normal, largest, infinities, one.
EXTREME_HALVES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x3C00]
# MXFP4's scale is one byte, an exponent.
EXTREME_EXPONENTS = [0, 1, 2, 3, 126, 127, 128, 253, 254, 255]
N_ORDINARY = 10
ENCODED = [T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.MXFP4]


def blocks_of(dtype, rng):
    n_extreme = 10
    n_bytes = GGML_QUANT_SIZES[dtype][1]
    blocks = rng.integers(0, 256, (N_ORDINARY + n_extreme, n_bytes), dtype=np.uint8)
    for field, offset in enumerate(HALVES[dtype]):
        ordinary = rng.uniform(-0.1, 0.1, N_ORDINARY).astype("<f2")
        extreme = np.roll(np.array(EXTREME_HALVES, "<u2"), 3 * field).view("<f2")
        scales = np.concatenate([ordinary, extreme])
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    if dtype == T.MXFP4:
        blocks[:N_ORDINARY, 0] = rng.integers(110, 130, N_ORDINARY)
        blocks[N_ORDINARY:, 0] = EXTREME_EXPONENTS
    return blocks


def plain_of(dtype, rng):
    """Random bits of the plain types, with the extreme values in front."""
    n_bytes = GGML_QUANT_SIZES[dtype][1]
    extreme = {
        T.F32: np.array([0, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF, 0xFF800000], "<u4"),
        T.F16: np.array(EXTREME_HALVES, "<u2"),
        T.BF16: np.array([0, 0x8000, 1, 0x807F, 0x7F7F, 0xFF80], "<u2"),
    }[dtype].view(np.uint8)
    random = rng.integers(0, 256, 256 * n_bytes, dtype=np.uint8)
    return np.concatenate([extreme, random]).reshape(-1, n_bytes)


def main():
    warnings.simplefilter("ignore", RuntimeWarning)  # infinities are meant
    rng = np.random.default_rng(20250120)
    for dtype in [T.F32, T.F16, T.BF16, *HALVES]:
        blocks = blocks_of(dtype, rng) if dtype in HALVES else plain_of(dtype, rng)
        values = quants.dequantize(blocks, dtype).astype("<f4")
        name = dtype.name.lower()
        (HERE / f"{name}.blocks").write_bytes(blocks.tobytes())
        (HERE / f"{name}.f32").write_bytes(values.tobytes())
        print(f"{name}: {len(blocks)} blocks, {values.size} values")

    values = rng.normal(0, 0.02, (32, 32)).astype("<f4")
    values[3] = 0
    values[5:8] += 0.05
    values[::4, 17] *= 30
    (HERE / "encode.f32").write_bytes(values.tobytes())
    for dtype in ENCODED:
        (HERE / f"{dtype.name.lower()}.encoded").write_bytes(quants.quantize(values, dtype).tobytes())


if __name__ == "__main__":
    main()
