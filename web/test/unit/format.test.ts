import { expect, test } from "vitest";
import {
  describeProgress,
  formatBytes,
  formatDuration,
  formatParameters,
  formatRate,
  formatTokens,
  timeLeft,
} from "../../src/components/format.ts";

test("bytes have three digits and decimal units", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [7_836_152, "7.84 MB"],
    [12_345_678, "12.3 MB"],
    [999_600_000, "1.00 GB"],
    [1_117_320_736, "1.12 GB"],
    [404e9, "404 GB"],
  ];
  for (const [bytes, text] of cases) expect(formatBytes(bytes)).toBe(text);
});

test("durations are short", () => {
  const cases: [number, string][] = [
    [0, "0.0 s"],
    [840, "0.8 s"],
    [9_960, "10 s"],
    [59_400, "59 s"],
    [59_600, "1 min"],
    [125_000, "2 min 5 s"],
    [3_840_000, "1 h 4 min"],
    [-5, "0.0 s"],
  ];
  for (const [ms, text] of cases) expect(formatDuration(ms)).toBe(text);
});

test("tokens, rates and parameters", () => {
  expect(formatTokens(1)).toBe("1 token");
  expect(formatTokens(1204)).toBe("1,204 tokens");
  expect(formatRate(21.34)).toBe("21.3 tokens/s");
  expect(formatRate(121.4)).toBe("121 tokens/s");
  expect(formatParameters(1_543_714_304)).toBe("1.5 B");
  expect(formatParameters(7_300_000)).toBe("7.3 M");
  expect(formatParameters(671e9)).toBe("671 B");
});

test("progress tells bytes, speed and time left where they are known", () => {
  const progress = { phase: "download", loaded: 400e6, total: 1100e6, bytesPerSecond: 20e6 } as const;
  expect(describeProgress(progress)).toEqual({
    title: "Downloading",
    detail: "400 MB of 1.10 GB · 20.0 MB/s · 35 s left",
  });
  expect(describeProgress({ phase: "connect", loaded: 0, total: 0, bytesPerSecond: 0 }).detail).toBe("");
  expect(describeProgress({ ...progress, total: 0 }).detail).toBe("400 MB · 20.0 MB/s");
  expect(timeLeft({ ...progress, bytesPerSecond: 0 })).toBeNull();
});
