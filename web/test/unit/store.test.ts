import { describe, expect, it } from "vitest";
import { shardNames } from "../../src/store/folder.ts";
import { RunningHash, sha256, toHex } from "../../src/store/hashes.ts";
import {
  chunkCount,
  chunkRange,
  parseFileRecord,
  parseModelRecord,
  parseTunings,
  piecesOf,
  versionOf,
} from "../../src/store/layout.ts";
import { SpeedMeter } from "../../src/store/progress.ts";
import { parseContentRange, parseHashTag } from "../../src/store/remote.ts";
import { parsePointer, pointerUrl, resolveSource } from "../../src/store/resolve.ts";
import { Passing, retrying } from "../../src/store/retry.ts";
import { parseTombstone } from "../../src/store/tombstone.ts";
import { AloudError } from "../../src/errors.ts";

const HASH = "0123456789abcdef".repeat(4);

describe("resolveSource", () => {
  const base = "https://example.org/app/page.html";
  const gguf = (url: string) => ({ kind: "gguf", source: url, parts: [url] });
  const hub = "https://huggingface.co/org/repo-1.5/resolve";

  it.each([
    ["hf:org/repo-1.5/a.gguf", gguf(`${hub}/main/a.gguf`)],
    ["hf:org/repo-1.5@v2/sub/a b.gguf", gguf(`${hub}/v2/sub/a%20b.gguf`)],
    ["hf:org/repo-1.5@refs%2Fpr%2F1/a.gguf", gguf(`${hub}/refs%2Fpr%2F1/a.gguf`)],
    ["hf:org/repo-1.5/", { kind: "folder", source: `${hub}/main/`, url: `${hub}/main/` }],
    ["hf:org/repo-1.5", { kind: "folder", source: `${hub}/main/`, url: `${hub}/main/` }],
    ["hf:org/repo-1.5@v2/", { kind: "folder", source: `${hub}/v2/`, url: `${hub}/v2/` }],
    ["models/a.gguf?x=1#y", gguf("https://example.org/app/models/a.gguf?x=1")],
    ["/a/", { kind: "folder", source: "https://example.org/a/", url: "https://example.org/a/" }],
  ])("%s", (source, expected) => expect(resolveSource(source, { base })).toEqual(expected));

  it("takes another hub", () => {
    expect(resolveSource("hf:o/r/a.gguf", { hub: "http://127.0.0.1:1/x" }).source).toBe(
      "http://127.0.0.1:1/o/r/resolve/main/a.gguf",
    );
  });

  it("finds the siblings of any part of a split GGUF", () => {
    const part = (n: number) => `https://h/m-0000${n}-of-00003.gguf?t=1`;
    for (const n of [1, 2, 3]) {
      expect(resolveSource(part(n))).toEqual({ kind: "gguf", source: part(1), parts: [1, 2, 3].map(part) });
    }
    expect(resolveSource("https://h/m-00004-of-00003.gguf")).toEqual(gguf("https://h/m-00004-of-00003.gguf"));
  });

  it("takes arrays, and their name back", () => {
    const several = resolveSource(["/a.gguf", new URL("https://h/b.gguf")], { base });
    expect(several).toMatchObject({ parts: ["https://example.org/a.gguf", "https://h/b.gguf"] });
    expect(resolveSource(several.source)).toEqual(several);
    const blob = new Blob(["x"]);
    expect(resolveSource([blob])).toEqual({ kind: "gguf", source: "", parts: [blob] });
  });

  it.each([
    "hf:",
    "hf:org",
    "hf:org/",
    "hf:org/repo/../x",
    "hf:org/repo//x",
    "hf:o r/repo/x",
    "ftp://h/a.gguf",
    "javascript:1",
    "http://",
  ])("refuses %s", (source) => {
    expect(() => resolveSource(source)).toThrowError(expect.objectContaining({ code: "invalid-request" }));
  });

  it("refuses what is no model", () => {
    for (const source of [7, null, {}, [], [["a"]], ["https://h/x/", "https://h/a.gguf"]]) {
      expect(() => resolveSource(source as never)).toThrowError(expect.objectContaining({ code: "invalid-request" }));
    }
  });
});

describe("the hub's hashes", () => {
  it("are at pointers of its files alone", () => {
    expect(pointerUrl("https://huggingface.co/o/r/resolve/main/d/a.gguf")).toBe(
      "https://huggingface.co/o/r/raw/main/d/a.gguf",
    );
    expect(pointerUrl("https://example.org/o/r/resolve/main/a.gguf")).toBeNull();
    expect(pointerUrl("https://huggingface.co/a.gguf")).toBeNull();
  });

  it("are read from pointers and tags", () => {
    const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${HASH}\nsize 12\n`;
    expect(parsePointer(pointer)).toEqual({ sha256: HASH, size: 12 });
    for (const text of [
      "",
      "{}",
      pointer.replace("sha256", "md5"),
      pointer.replace("size 12", "size x"),
      `x${pointer}`,
    ]) {
      expect(parsePointer(text)).toBeNull();
    }
    expect(parseHashTag(`"${HASH}"`)).toBe(HASH);
    for (const tag of [null, "", `"${HASH}0"`, '"abc"', `"${HASH}-2"`]) expect(parseHashTag(tag)).toBeNull();
  });
});

describe("chunks", () => {
  it("cover a file", () => {
    expect([0, 1, 10, 11, 20].map((size) => chunkCount(size, 10))).toEqual([0, 1, 1, 2, 2]);
    expect(chunkRange(1, 15, 10)).toEqual({ first: 10, length: 5 });
  });

  it("are cut to what a range needs of them", () => {
    expect([...piecesOf(8, 14, 10)]).toEqual([
      { n: 0, from: 8, to: 10, at: 0 },
      { n: 1, from: 0, to: 10, at: 2 },
      { n: 2, from: 0, to: 2, at: 12 },
    ]);
    expect([...piecesOf(20, 0, 10)]).toEqual([]);
    expect([...piecesOf(10, 10, 10)]).toEqual([{ n: 1, from: 0, to: 10, at: 0 }]);
  });

  it("change their folder with the file", async () => {
    const file = { size: 5, etag: '"a"', lastModified: "x" };
    const versions = [file, { ...file, etag: '"b"' }, { ...file, size: 6 }, { ...file, etag: null }].map((f) =>
      versionOf(f, 1),
    );
    expect(new Set(await Promise.all([...versions, versionOf(file, 2)])).size).toBe(5);
    expect(await versionOf(file, 1)).toBe(await versionOf({ ...file, lastModified: "y" }, 1));
  });
});

describe("records", () => {
  const file = {
    url: "u",
    etag: null,
    lastModified: "x",
    size: 25,
    chunkBytes: 10,
    createdMs: 1,
    sha256: HASH,
    hashes: [HASH, HASH, HASH],
  };
  const model = { source: "s", lastUsedMs: 1, files: [`${HASH.slice(32)}/${HASH.slice(32)}`] };

  it("are read", () => {
    expect(parseFileRecord(JSON.stringify({ ...file, more: 1 }))).toEqual(file);
    expect(parseFileRecord(JSON.stringify({ ...file, hashes: null, sha256: null }))).not.toBeNull();
    expect(parseModelRecord(JSON.stringify(model))).toEqual(model);
    expect(parseTombstone('{"source":"s","phase":"upload","atMs":5}')).toEqual({
      source: "s",
      phase: "upload",
      atMs: 5,
    });
  });

  it.each([
    { url: 1 },
    { etag: 5 },
    { etag: undefined },
    { size: -1 },
    { size: 1e300 },
    { size: 2.5 },
    { size: "25" },
    { chunkBytes: 0 },
    { chunkBytes: null },
    { createdMs: "now" },
    { sha256: "ab" },
    { sha256: HASH.toUpperCase() },
    { sha256: undefined },
    { hashes: [HASH] },
    { hashes: [HASH, HASH, 5] },
    { hashes: [HASH, HASH, `${HASH}\n`] },
    { hashes: {} },
    { hashes: undefined },
    { size: 1e15, chunkBytes: 1 },
  ])("of files are refused with %o", (change) => {
    expect(parseFileRecord(JSON.stringify({ ...file, ...change }))).toBeNull();
  });

  it.each([{ source: 5 }, { lastUsedMs: -1 }, { files: "x" }, { files: ["../../x"] }, { files: [null] }])(
    "of models are refused with %o",
    (change) => expect(parseModelRecord(JSON.stringify({ ...model, ...change }))).toBeNull(),
  );

  it.each(["", "null", "[]", "5", "{", '"x"', "{}"])("are none: %s", (text) => {
    const parsed = [parseFileRecord(text), parseModelRecord(text), parseTombstone(text), parseTunings(text)];
    expect(parsed).toEqual([null, null, null, null]);
  });

  const tuning = { device: "a GPU", key: "kernels 1", text: "Q8_0/wide=64" };
  it.each([
    [{ known: [] }, []],
    [{ known: [tuning, tuning], more: 1 }, [tuning, tuning]],
    [{ known: [tuning, { ...tuning, text: 64 }] }, null],
    [{ known: [tuning, null] }, null],
    [{ known: { 0: tuning, length: 1 } }, null],
    [{ known: [{ ...tuning, text: "x".repeat(65_536) }] }, null],
  ])("of tunings: %o", (value, expected) => expect(parseTunings(JSON.stringify(value))).toEqual(expected));
});

describe("shard names", () => {
  it("are read from an index", () => {
    const index = { weight_map: { a: "m-2.safetensors", b: "m-1.safetensors", c: "m-2.safetensors" } };
    expect(shardNames(JSON.stringify(index), "f/")).toEqual(["m-1.safetensors", "m-2.safetensors"]);
  });

  it.each([
    "",
    "{}",
    '{"weight_map":{}}',
    '{"weight_map":{"a":"../x.safetensors"}}',
    '{"weight_map":{"a":"https://h/x.safetensors"}}',
    '{"weight_map":{"a":5}}',
    '{"weight_map":{"a":"x.bin"}}',
    "null",
  ])("are refused: %s", (text) => {
    expect(() => shardNames(text, "f/")).toThrowError(expect.objectContaining({ code: "not-a-model" }));
  });
});

describe("content ranges", () => {
  it.each([
    ["bytes 0-9/20", { first: 0, last: 9, total: 20 }],
    [" bytes 0-9/* ", { first: 0, last: 9, total: null }],
    ["bytes */20", null],
    ["bytes 0-9", null],
    ["0-9/20", null],
    ["bytes 0-99999999999999999999/20", null],
    [null, null],
  ])("%s", (text, expected) => expect(parseContentRange(text)).toEqual(expected));
});

describe("speed", () => {
  it("is that of the last seconds", () => {
    const meter = new SpeedMeter();
    expect(meter.rate(0)).toBe(0);
    for (let ms = 0; ms <= 10_000; ms += 50) meter.add(ms, 50);
    expect(meter.rate(10_000)).toBeGreaterThan(900);
    expect(meter.rate(10_000)).toBeLessThan(1100);
    for (let ms = 10_050; ms <= 20_000; ms += 50) meter.add(ms, 500);
    expect(meter.rate(20_000)).toBeGreaterThan(9000);
    expect(meter.rate(60_000)).toBe(0);
  });

  it("is finite at once", () => {
    const meter = new SpeedMeter();
    meter.add(5, 100);
    expect(meter.rate(5)).toBe(1000);
  });
});

describe("retrying", () => {
  const options = { attempts: 3, pauseMs: 1 };
  const passing = () => new Passing(new AloudError("network", "lost"));
  const { signal } = new AbortController();

  it("gives up after failures in a row", async () => {
    let runs = 0;
    const failing = async () => {
      runs++;
      throw passing();
    };
    await expect(retrying(options, signal, failing)).rejects.toMatchObject({ code: "network" });
    expect(runs).toBe(3);
  });

  it("goes on for as long as something comes", async () => {
    let done = 0;
    const slow = async () => {
      if (++done < 20) throw passing();
      return done;
    };
    expect(await retrying(options, signal, slow, () => done)).toBe(20);
  });

  it("does not try again what will not pass, nor after an abort", async () => {
    const final = async () => Promise.reject(new AloudError("no-range", "x"));
    await expect(retrying(options, signal, final)).rejects.toMatchObject({ code: "no-range" });
    const controller = new AbortController();
    const begunMs = performance.now();
    setTimeout(() => controller.abort(), 20);
    const failing = async () => Promise.reject(passing());
    await expect(retrying({ attempts: 9, pauseMs: 5000 }, controller.signal, failing)).rejects.toMatchObject({
      code: "aborted",
    });
    expect(performance.now() - begunMs).toBeLessThan(1000);
  });
});

it("a hash that grows is the hash of all", async () => {
  const bytes = new Uint8Array(9 << 20).map((_, i) => i * 7);
  const hash = new RunningHash();
  for (let at = 0; at < bytes.length; at += 5 << 20) await hash.update(bytes.subarray(at, at + (5 << 20)));
  expect(hash.hex()).toBe(toHex(await sha256(bytes)));
});
