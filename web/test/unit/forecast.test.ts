import { describe, expect, it } from "vitest";
import { forecast, type Need } from "../../src/forecast.ts";

const GIB = 2 ** 30;
const SPEED = { bytesPerSecond: 100e9, dispatchSeconds: 5e-6, readbackSeconds: 1e-3 };
/** DeepSeek-R1-Distill-Qwen-7B: 28 layers with 4 heads of keys and values, 128 wide, in f16. */
const QWEN_7B: Need = {
  architecture: "Qwen2ForCausalLM",
  parameters: 7_615_616_512,
  quantization: "Q4_K",
  maxContextLength: 131_072,
  contextLength: 4096,
  weightBytes: 4.68e9,
  kvBytes: 4096 * 57_344,
  kvBindingBytes: 4096 * 1024,
  readBytes: 4.3e9,
  dispatches: 170,
};
const of = (change: Partial<Need>, memoryGiB?: number, maxStorageBufferBindingSize = 2 * GIB, subgroupSize = 32) => {
  const need = { ...QWEN_7B, ...change };
  const scale = need.contextLength / QWEN_7B.contextLength;
  const scaled = { ...need, kvBytes: need.kvBytes * scale, kvBindingBytes: need.kvBindingBytes * scale };
  return forecast(scaled, SPEED, { limits: { maxStorageBufferBindingSize }, subgroupSize, isCpu: false }, memoryGiB);
};

describe("a forecast", () => {
  it("is ok with room to spare, and where nothing is known of memory", () => {
    for (const memory of [16, undefined]) {
      const { verdict, reason, totalBytes, ...more } = of({}, memory);
      expect([verdict, reason]).toEqual(["ok", "it needs 4.58 GiB"]);
      expect(totalBytes).toBe(4.68e9 + 4096 * 57_344);
      expect(more).not.toHaveProperty("fittingContextLength");
      expect(more).not.toHaveProperty("fittingQuantization");
    }
  });

  it("is tight near the end of memory, and names the quantisation that would be ok", () => {
    const found = of({}, 6);
    expect(found.verdict).toBe("tight");
    expect(found.reason).toMatch(/^it needs 4\.58 GiB of the 5\.75 GiB .* close other tabs, or take it as Q3_K_M$/);
    expect(found.fittingQuantization).toBe("Q3_K_M");
    expect(found).not.toHaveProperty("fittingContextLength");
  });

  it("is no without memory; the best quantisation that fits is named", () => {
    const found = of({ weightBytes: 8.1e9, quantization: "Q8_0" }, 8);
    expect(found.verdict).toBe("no");
    expect(found.reason).toMatch(/it needs 7\.76 GiB, and of the machine's 8 GiB 7\.75 GiB can be had; as Q5_K_M it would fit$/);
    expect(found.fittingQuantization).toBe("Q5_K_M");
    // That is right: with so many bytes of weights it is ok.
    expect(of({ weightBytes: (QWEN_7B.parameters * 5.7) / 8 }, 8).verdict).toBe("ok");
    expect(of({ weightBytes: (QWEN_7B.parameters * 6.6) / 8 }, 8).verdict).toBe("tight");
  });

  it("is no without memory for any quantisation", () => {
    const found = of({}, 2);
    expect(found.verdict).toBe("no");
    expect(found.reason).toMatch(/a smaller model needs less$/);
    expect(found).not.toHaveProperty("fittingQuantization");
    expect(found).not.toHaveProperty("fittingContextLength");
  });

  it("is no, or tight, for too long a context; the longest that is ok is told, and is ok", () => {
    for (const [contextLength, memory, binding, reason] of [
      [200_000, 64, 2 * GIB, /made for 131072 tokens/],
      [100_000, 64, 64 << 20, /binds a cache of 65536 tokens at most/],
      [100_000, 8, 2 * GIB, /it needs 9\.70 GiB/],
      [40_000, 8, 2 * GIB, /close other tabs/],
    ] as const) {
      const { verdict, fittingContextLength, ...found } = of({ contextLength }, memory, binding);
      expect(found.reason).toMatch(reason);
      expect(verdict).toBe(contextLength === 40_000 ? "tight" : "no");
      expect(of({ contextLength: fittingContextLength! }, memory, binding).verdict).toBe("ok");
      expect(of({ contextLength: fittingContextLength! + 1 }, memory, binding).verdict).not.toBe("ok");
    }
  });

  it("counts bytes, dispatches and the way back of a token", () => {
    const { tokensPerSecond, timeToFirstTokenMilliseconds } = of({});
    const reading = (4.3e9 + (4096 * 57_344) / 2) / 100e9;
    const seconds = reading + 2 * 170 * 5e-6 + 1e-3;
    expect(1 / tokensPerSecond).toBeCloseTo(seconds, 6);
    expect(timeToFirstTokenMilliseconds).toBeCloseTo((32 * reading + seconds) * 1e3 + 1, 3);
    const rowByRow = of({}, undefined, undefined, 4);
    expect(rowByRow.tokensPerSecond).toBe(tokensPerSecond);
    expect(rowByRow.timeToFirstTokenMilliseconds).toBeGreaterThan(3.5 * timeToFirstTokenMilliseconds);
  });
});
