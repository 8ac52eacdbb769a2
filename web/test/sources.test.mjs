// Model files behind a URL, in a Blob or File, and in the origin's private file system are read alike, and what cannot be
// read is refused with a reason.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openAloud } from "./browser.mjs";
import { byRanges, serve } from "./server.mjs";

// A GGUF of 320 bytes, written by Python's gguf 0.19.0.
const TINY = Buffer.from(
  "474755460300000002000000000000000300000000000000140000000000000067656e6572616c2e6172636869746563" +
    "747572650800000005000000000000006c6c616d6111000000000000006c6c616d612e626c6f636b5f636f756e740400" +
    "0000010000001500000000000000746f6b656e697a65722e67676d6c2e746f6b656e7309000000080000000200000000" +
    "000000010000000000000061020000000000000062630800000000000000742e77656967687402000000030000000000" +
    "0000020000000000000000000000000000000000000008000000000000006e2e77656967687401000000010000000000" +
    "000000000000200000000000000000000000803f0000004000004040000080400000a0400000c0400000000000000000" +
    "0000c0bf00000000000000000000000000000000000000000000000000000000",
  "hex",
);
const SUMMARY = {
  lenBytes: 320,
  metadata: [
    ["general.architecture", "llama"],
    ["llama.block_count", 1],
    ["tokenizer.ggml.tokens", { length: 2 }],
  ],
  tensors: [
    { name: "t.weight", dtype: "F32", shape: [2, 3], offset: 256, lenBytes: 24 },
    { name: "n.weight", dtype: "F32", shape: [1], offset: 288, lenBytes: 4 },
  ],
};
const CORS = { "access-control-allow-origin": "*" };
const exposing = { ...CORS, "access-control-expose-headers": "content-range" };

const answer = (status, headers, body) => (_, response) => response.writeHead(status, headers).end(body);
/** Answers the question for the file's length like a good server, and any later one by `lie`. */
const lying = (lie) => (request, response) =>
  (request.headers.range === "bytes=0-0" ? byRanges(TINY) : lie)(request, response);
const ROUTES = {
  "/tiny.gguf": byRanges(TINY),
  "/empty.gguf": byRanges(Buffer.alloc(0)),
  "/cut.gguf": byRanges(TINY.subarray(0, 280)),
  "/without-ranges.gguf": answer(200, {}, TINY),
  "/failing.gguf": answer(503),
  "/other-place.gguf": lying(answer(206, { "content-range": "bytes 1-320/321" }, TINY)),
  "/grown.gguf": lying(answer(206, { "content-range": "bytes 0-319/640" }, TINY)),
  "/less.gguf": lying(answer(206, { "content-range": "bytes 0-319/320" }, TINY.subarray(0, 100))),
  "/later-without-ranges.gguf": lying(answer(200, {}, TINY)),
};
const ELSEWHERE = {
  "/exposing.gguf": byRanges(TINY, exposing),
  "/hiding.gguf": byRanges(TINY, CORS),
  "/forbidding.gguf": byRanges(TINY),
};

describe("sources", { timeout: 120_000 }, () => {
  let browser, elsewhere;
  before(async () => {
    [browser, elsewhere] = await Promise.all([openAloud(ROUTES), serve(ELSEWHERE)]);
    await browser.run((bytes) => {
      const tiny = new Uint8Array(bytes);
      const inOpfs = async (name, contents) => {
        const folder = await navigator.storage.getDirectory();
        const handle = await folder.getFileHandle(name, { create: true });
        const writable = await handle.createWritable();
        await writable.write(contents);
        await writable.close();
        return handle;
      };
      const make = {
        url: (url) => url,
        urlObject: (url) => new URL(url, location.href),
        blob: () => new Blob([tiny]),
        file: () => new File([tiny], "tiny.gguf"),
        cutFile: () => new File([tiny.subarray(0, 280)], "cut.gguf"),
        opfs: () => inOpfs("tiny.gguf", tiny),
        number: () => 7,
        goneOpfs: async () => {
          const handle = await inOpfs("gone.gguf", tiny);
          await (await navigator.storage.getDirectory()).removeEntry("gone.gguf");
          return handle;
        },
      };
      const plain = (tensor) => {
        const { name, dtype, shape, offset, lenBytes } = tensor;
        return { name, dtype, shape: [...shape], offset, lenBytes };
      };
      globalThis.inspect = async ([kind, url]) => {
        const { name, lenBytes, metadata, tensors } = await globalThis.aloud.inspect(await make[kind](url));
        return { name, lenBytes, metadata: [...metadata], tensors: tensors.map(plain) };
      };
      globalThis.readRange = async ([[kind, url], offset, lenBytes]) => [
        ...(await globalThis.aloud.readRange(await make[kind](url), offset, lenBytes)),
      ];
    }, [...TINY]);
  });
  after(async () => {
    await browser?.close();
    await elsewhere?.close();
  });

  const inspect = (file) => browser.run((file) => globalThis.inspect(file), file);
  const readRange = (...args) => browser.run((args) => globalThis.readRange(args), args);
  const refused = async (promise, pattern) => {
    const reason = await promise.then(() => "nothing was refused", (error) => error.message);
    assert.match(reason, pattern);
  };

  for (const [what, file, name] of [
    ["a URL", ["url", "/tiny.gguf"], "/tiny.gguf"],
    ["a URL object", ["urlObject", "/tiny.gguf"], /^http:.*\/tiny\.gguf$/],
    ["a Blob", ["blob"], "blob"],
    ["a File", ["file"], "tiny.gguf"],
    ["a file handle of the private file system", ["opfs"], "tiny.gguf"],
  ]) {
    it(`read ${what}`, async () => {
      const { name: found, ...summary } = await inspect(file);
      assert.deepEqual(summary, SUMMARY);
      if (name instanceof RegExp) assert.match(found, name);
      else assert.equal(found, name);
      assert.deepEqual(await readRange(file, 256, 24), [...TINY.subarray(256, 280)]);
      assert.deepEqual(await readRange(file, 320, 0), []);
      await refused(readRange(file, 300, 21), /cannot read 21 bytes .*past the last of 320 bytes/);
    });
  }

  it("read another origin's URL, whether or not it shows Content-Range", async () => {
    for (const path of ["/exposing.gguf", "/hiding.gguf"]) {
      const { name, ...summary } = await inspect(["url", elsewhere.origin + path]);
      assert.deepEqual(summary, SUMMARY, name);
    }
  });

  for (const [what, file, pattern] of [
    ["a missing file", ["url", "/missing.gguf"], /missing\.gguf.*no such file \(status 404\)/],
    ["a failing server", ["url", "/failing.gguf"], /status 503 .*instead of 206/],
    ["a server without ranges", ["url", "/without-ranges.gguf"], /ignores `Range` \(status 200 instead of 206\); serve/],
    ["a server that forgets ranges", ["url", "/later-without-ranges.gguf"], /ignores `Range`/],
    ["a range of another place", ["url", "/other-place.gguf"], /the server sent `bytes 1-320\/321`/],
    ["a file that changes", ["url", "/grown.gguf"], /the server sent `bytes 0-319\/640`/],
    ["fewer bytes than promised", ["url", "/less.gguf"], /expected 320 bytes, found 100/],
    ["a URL that is none", ["url", "http://"], /URL/],
    ["an empty file", ["url", "/empty.gguf"], /empty\.gguf/],
    ["a cut file behind a URL", ["url", "/cut.gguf"], /cut\.gguf.*n\.weight/],
    ["a cut File", ["cutFile"], /cut\.gguf.*n\.weight/],
    ["a file handle whose file is gone", ["goneOpfs"], /`gone\.gguf`: cannot read/],
    ["what is no file", ["number"], /expected a URL, a Blob, a File or a FileSystemFileHandle, found: number/],
  ]) {
    it(`refuse ${what}`, () => refused(inspect(file), pattern));
  }

  it("refuse a file that is no model, by the key that it lacks", () =>
    refused(
      browser.run(() => globalThis.aloud.Model.load("/tiny.gguf")),
      /`tokenizer\.ggml\.model`/,
    ));

  it("refuse another origin that lets nobody read", () =>
    refused(inspect(["url", `${elsewhere.origin}/forbidding.gguf`]), /\(CORS\)/));
});

describe("devices", { timeout: 120_000 }, () => {
  it("are listed with their limits", async () => {
    const browser = await openAloud();
    try {
      const devices = await browser.run(async () =>
        (await globalThis.aloud.devices()).map(({ backend, maxBindingBytes }) => ({ backend, maxBindingBytes })),
      );
      assert.equal(devices.length, 1);
      assert.match(devices[0].backend, /webgpu/i);
      assert.ok(devices[0].maxBindingBytes >= 128 << 20);
      assert.deepEqual(browser.problems, []);
    } finally {
      await browser.close();
    }
  });
});
