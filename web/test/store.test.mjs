// Model files are downloaded once, and read while they come, whatever server, network and tabs do.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, it } from "node:test";
import { chromium } from "playwright-core";
import { EXECUTABLE, FLAGS } from "./browser.mjs";
import { cutAfter, status } from "./faults.mjs";
import {
  addFile,
  CHUNK,
  chunkFiles,
  elsewhere,
  enter,
  expectAll,
  flip,
  newContext,
  newTab,
  otherRoutes,
  sha256,
  sharedTab,
  TUNING,
  until,
} from "./store.mjs";

for (const realm of ["page", "worker"]) {
  describe(`a store in a ${realm}`, { timeout: 240_000 }, () => {
    const shared = sharedTab({ realm });

    it("reads while it downloads, keeps what came, and asks for nothing twice", async () => {
      const file = addFile("/a.gguf");
      file.gate = ({ first }) => first >= 2 * CHUNK;
      const tab = shared();
      const opened = await tab.open("a", "/a.gguf");
      assert.deepEqual(opened, { kind: "gguf", name: "a.gguf", files: [{ name: "a.gguf", size: file.bytes.length }] });
      // The first bytes are there before the last.
      assert.equal(await tab.get("read", "a", 0, 10, 20), sha256(file.bytes.subarray(10, 30)));
      await until(() => file.waiting.length > 0, "a request that is held back");
      file.release();
      await expectAll(tab, "a", file);
      await tab.get("complete", "a");
      assert.deepEqual(
        [...file.asked].sort((a, b) => a - b),
        [0, 1, 2, 3, 4].map((n) => n * CHUNK),
      );
      await tab.get("close", "a");
      await tab.open("b", "/a.gguf");
      await expectAll(tab, "b", file);
      await tab.get("complete", "b");
      assert.equal(file.asked.length, 5);
      const told = { phase: "verify", loaded: file.bytes.length, total: file.bytes.length };
      await until(async () => {
        const { phase, loaded, total } = await tab.where.evaluate(() => globalThis.t.progress.at(-1));
        return JSON.stringify({ phase, loaded, total }) === JSON.stringify(told);
      }, "the last progress");
      await tab.get("close", "b");
      await tab.get("call", "deleteModel", "/a.gguf");
    });

    it("finds a flipped byte and fetches that chunk alone", async () => {
      const file = addFile("/flip.gguf");
      const tab = shared();
      await tab.open("a", "/flip.gguf");
      await tab.get("complete", "a");
      await tab.get("close", "a");
      const chunks = await chunkFiles(tab);
      assert.equal(chunks.length, 5);
      await flip(tab.page, chunks[2][0], 777); // In the data.
      await flip(tab.page, chunks[4][0], 1010); // In the hash behind it.
      file.asked = [];
      await tab.open("b", "/flip.gguf");
      await expectAll(tab, "b", file);
      assert.deepEqual(
        file.asked.sort((a, b) => a - b),
        [2 * CHUNK, 4 * CHUNK],
      );
      await tab.get("close", "b");
      await tab.open("c", "/flip.gguf");
      await expectAll(tab, "c", file);
      assert.equal(file.asked.length, 2);
    });
  });
}

describe("a download", { timeout: 240_000 }, () => {
  for (const [how, realm, leave] of [
    ["a reload", "page", (tab) => enter(tab.page)],
    ["a reload", "worker", (tab) => enter(tab.page)],
    ["a closed tab", "page", async (tab, context) => (await tab.page.close(), newTab(context))],
    [
      "a crashed tab",
      "worker",
      async (tab, context) => (await tab.page.goto("chrome://crash").catch(() => {}), newTab(context)),
    ],
  ]) {
    it(`goes on after ${how} (${realm})`, async () => {
      const file = addFile("/resume.gguf", randomBytes(CHUNK * 9 + 5));
      file.gate = ({ first }) => first >= 4 * CHUNK;
      const context = await newContext();
      const tab = await newTab(context, { realm });
      await tab.open("a", "/resume.gguf");
      await until(async () => (await chunkFiles(tab)).length === 4, "four chunks");
      const next = await leave(tab, context);
      await until(() => file.open === 0, "the end of requests");
      file.asked = [];
      file.gate = () => false;
      await next.open("a", "/resume.gguf");
      await expectAll(next, "a", file);
      await next.get("complete", "a");
      assert.deepEqual(
        file.asked.sort((a, b) => a - b),
        [4, 5, 6, 7, 8, 9].map((n) => n * CHUNK),
      );
    });
  }

  it("goes on after the browser was started again", async () => {
    const file = addFile("/restart.gguf");
    file.gate = ({ first }) => first >= 2 * CHUNK;
    const profile = await mkdtemp(path.join(tmpdir(), "aloud-"));
    const start = () => chromium.launchPersistentContext(profile, { executablePath: EXECUTABLE, args: FLAGS });
    try {
      let context = await start();
      let tab = await newTab(context, { realm: "worker" });
      await tab.open("a", "/restart.gguf");
      await until(async () => (await chunkFiles(tab)).length === 2, "two chunks");
      await context.close();
      file.gate = () => false;
      file.asked = [];
      context = await start();
      tab = await newTab(context, { realm: "worker" });
      await tab.open("a", "/restart.gguf");
      await expectAll(tab, "a", file);
      assert.equal(file.asked.length, 3);
      await context.close();
    } finally {
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    }
  });

  it("fetches first what a reader waits for", async () => {
    const file = addFile("/order.gguf", randomBytes(CHUNK * 30));
    const [at, length] = [29 * CHUNK - 5, 10];
    file.gate = ({ first }) => first < 28 * CHUNK;
    const tab = await newTab(await newContext());
    await tab.open("a", "/order.gguf");
    assert.equal(await tab.get("read", "a", 0, at, length), sha256(file.bytes.subarray(at, at + length)));
    await until(() => file.asked.length === 6, "the requests of what follows");
    assert.deepEqual(
      file.asked.sort((a, b) => a - b),
      [0, 1, 2, 3, 28, 29].map((n) => n * CHUNK),
    );
  });

  it("is one for two tabs, and the second takes over from the first", async () => {
    const file = addFile("/tabs.gguf", randomBytes(CHUNK * 12));
    file.gate = ({ first }) => first >= 2 * CHUNK && first < 11 * CHUNK;
    const context = await newContext();
    const [one, two] = [await newTab(context, { realm: "worker" }), await newTab(context)];
    await one.open("a", "/tabs.gguf");
    await two.open("a", "/tabs.gguf");
    // The second tab gets early what only it waits for, by the first one's hand.
    await until(() => file.asked.length >= 6, "four requests under way");
    assert.equal(await two.get("read", "a", 0, 11 * CHUNK, 9), sha256(file.bytes.subarray(11 * CHUNK, 11 * CHUNK + 9)));
    assert.equal((await chunkFiles(two)).length, 3);
    await one.page.close();
    file.release();
    await expectAll(two, "a", file);
    await two.get("complete", "a");
    assert.equal(file.asked.length, 12 + 4, "four were under way in the closed tab");
  });

  it("of two tabs at once asks for every chunk once", async () => {
    const file = addFile("/both.gguf", randomBytes(CHUNK * 12));
    file.bytesPerSecond = 2_000_000;
    const context = await newContext();
    const tabs = [await newTab(context, { realm: "worker" }), await newTab(context)];
    await Promise.all(tabs.map((tab) => tab.open("a", "/both.gguf")));
    await Promise.all(tabs.map((tab) => expectAll(tab, "a", file)));
    await Promise.all(tabs.map((tab) => tab.get("complete", "a")));
    assert.equal(file.asked.length, 12);
  });

  it("tells how far it is, at most ten times a second", async () => {
    const file = addFile("/progress.gguf", randomBytes(CHUNK * 8));
    file.bytesPerSecond = 150_000;
    const tab = await newTab(await newContext());
    await tab.open("a", "/progress.gguf");
    await tab.get("complete", "a");
    const told = await tab.where.evaluate(() => globalThis.t.progress);
    const total = file.bytes.length;
    assert.deepEqual([told[0].phase, told[0].loaded, told[0].total], ["connect", 0, 0]);
    const downloads = told.filter(({ phase }) => phase === "download");
    assert.ok(downloads.length >= 5);
    assert.ok(downloads.every((one, i) => one.total === total && one.loaded >= (downloads[i - 1]?.loaded ?? 0)));
    await until(
      async () => (await tab.where.evaluate(() => globalThis.t.progress.at(-1).loaded)) === total,
      "the last bytes",
    );
    const { bytesPerSecond } = downloads.at(-1);
    assert.ok(bytesPerSecond > 50_000 && bytesPerSecond < 5_000_000, `${bytesPerSecond}`);
    for (let i = 2; i < told.length; i++) assert.ok(told[i].atMs - told[i - 2].atMs > 90, "too often");
  });
});

describe("a bad server", { timeout: 240_000 }, () => {
  const shared = sharedTab({ realm: "worker" });
  const impatient = { tuning: { ...TUNING, stallMs: 300 } };

  /** Opens and reads with a fault: the code of the error; then without: all is right. */
  async function failsThenWorks(file, url, fault, expected, options) {
    const tab = shared();
    file.fault = fault;
    let code = await tab.openCode("a", url, options);
    if (code === "no error") {
      code = await tab.code("complete", "a");
      assert.equal(await tab.code("readAll", "a", 0, CHUNK), expected);
      await tab.get("close", "a");
    }
    assert.equal(code, expected);
    await until(() => file.open === 0, "the end of requests");
    // What came is kept; where nothing came, nothing is.
    const listed = await tab.get("call", "listModels");
    const chunks = await chunkFiles(tab);
    assert.deepEqual(listed.map(({ bytes, complete }) => [bytes > 0, complete]), chunks.length ? [[true, false]] : []);
    file.fault = () => false;
    await tab.open("b", url);
    await expectAll(tab, "b", file);
    await tab.get("complete", "b");
    await tab.get("close", "b");
    await tab.get("call", "deleteModel", url);
  }
  const later =
    (fault) =>
    (range, ...rest) =>
      !range.isProbe && range.first >= 2 * CHUNK && fault(range, ...rest);

  for (const [what, fault, code] of [
    ["that knows no ranges", (_r, _q, response) => response.writeHead(200).end("x") === response, "no-range"],
    ["that forgets ranges", later((_r, _q, response) => response.writeHead(200).end("x") === response), "no-range"],
    ["without the file", status(404), "http-status"],
    ["that refuses", status(403), "http-status"],
    ["that fails for good", status(500), "http-status"],
    ["that fails for good later", later(status(503)), "http-status"],
    ["that hangs up", (_r, request) => request.socket.destroy() === request.socket, "network"],
    ["that hangs up later", later((_r, request) => request.socket.destroy() === request.socket), "network"],
  ]) {
    it(`${what}: ${code}`, async () => {
      const file = addFile("/bad.gguf");
      await failsThenWorks(file, "/bad.gguf", fault, code);
    });
  }

  it("that sends nothing after its headers: truncated, or network if it hangs", async () => {
    const file = addFile("/cut.gguf");
    await failsThenWorks(file, "/cut.gguf", later(cutAfter(file, 0)), "truncated");
    await failsThenWorks(file, "/cut.gguf", later(cutAfter(file, 0, { hang: true })), "network", impatient);
  });

  it("that sends other bytes than asked for: no-range", async () => {
    const file = addFile("/shifted.gguf");
    const shifted = later(({ first, last }, _, response) => {
      const headers = { etag: file.etag, "content-range": `bytes ${first - 1}-${last - 1}/${file.bytes.length}` };
      response.writeHead(206, headers).end(file.bytes.subarray(first - 1, last));
      return true;
    });
    await failsThenWorks(file, "/shifted.gguf", shifted, "no-range");
  });

  it("that forbids other origins: network", async () => {
    const file = addFile("/cors.gguf", undefined, otherRoutes);
    const forbid = (_r, _q, response) => response.writeHead(206).end("x") === response;
    await failsThenWorks(file, `${elsewhere.origin}/cors.gguf`, forbid, "network");
  });

  it("whose file changes between chunks: changed, and the new file on the next try", async () => {
    const file = addFile("/changing.gguf");
    const other = randomBytes(file.bytes.length);
    const change = later(() => {
      file.bytes = other;
      file.etag = '"2"';
      return false;
    });
    await failsThenWorks(file, "/changing.gguf", change, "changed");
  });

  it("whose file changed since it was kept: the new one", async () => {
    const tab = shared();
    for (const tags of [
      { etag: '"2"' },
      { etag: null, headers: { "last-modified": "Sun, 22 Nov 2026 00:00:00 GMT" } },
    ]) {
      const file = addFile("/new.gguf");
      await tab.open("a", "/new.gguf");
      await tab.get("complete", "a");
      await tab.get("close", "a");
      Object.assign(file, tags, { bytes: randomBytes(file.bytes.length) });
      await tab.open("b", "/new.gguf");
      await expectAll(tab, "b", file);
      await tab.get("complete", "b");
      await tab.get("close", "b");
      assert.equal((await chunkFiles(tab)).length, 5, "chunks of the old file are gone");
      await tab.get("call", "deleteModel", "/new.gguf");
    }
  });

  it("that fails now and then is asked again; what came before a cut is not", async () => {
    const file = addFile("/weak.gguf", randomBytes(CHUNK * 4 + 5000));
    const answers = [
      status(500),
      status(429, { "retry-after": "0" }),
      cutAfter(file, 1000),
      cutAfter(file, 2000, { hang: true }),
    ];
    let nth = 0;
    file.fault = (range, ...rest) => (nth % 2 ? (nth++, false) : (answers[(nth++ / 2) % 4](range, ...rest), true));
    const tab = shared();
    await tab.open("a", "/weak.gguf", { tuning: { ...impatient.tuning, attempts: 8 } });
    await expectAll(tab, "a", file);
    await tab.get("close", "a");
    assert.ok(
      file.asked.some((first) => first % CHUNK !== 0),
      "no chunk was taken up in its middle",
    );
  });

  it("that redirects elsewhere is asked once, and again when the new URL expires", async () => {
    const origin = addFile("/redirect.gguf");
    const target = addFile("/signed.gguf", origin.bytes, otherRoutes);
    let [asked, valid] = [0, 1];
    origin.fault = (_r, _q, response) => {
      response.writeHead(302, { location: `${elsewhere.origin}/signed.gguf?sign=${++asked}` }).end();
      valid = asked;
      return true;
    };
    otherRoutes["/signed.gguf"] = (request, response) => {
      const isValid = request.url.endsWith(`=${valid}`);
      return isValid
        ? target.handler(request, response)
        : response.writeHead(403, { "access-control-allow-origin": "*" }).end();
    };
    const tab = shared();
    target.headers = { "access-control-expose-headers": "content-range, etag" };
    await tab.open("a", "/redirect.gguf", { tuning: { ...TUNING, connections: 1 } });
    await tab.get("complete", "a");
    assert.equal(asked, 1);
    await tab.get("close", "a");
    await tab.get("call", "deleteModel", "/redirect.gguf");
    target.fault = ({ isProbe }) => !isProbe && asked === 2 && (valid = 0) > 0; // The URL expires once it was used.
    await tab.open("b", "/redirect.gguf", { tuning: { ...TUNING, connections: 1 } });
    await expectAll(tab, "b", target);
    await tab.get("close", "b");
    assert.equal(asked, 3);
  });

  it("of another origin that hides its headers is asked for the length", async () => {
    const file = addFile("/hiding.gguf", undefined, otherRoutes);
    const tab = shared();
    await tab.open("a", `${elsewhere.origin}/hiding.gguf`);
    await expectAll(tab, "a", file);
    await tab.get("close", "a");
  });

  it("that is away: a model that is whole is read without it", async () => {
    const file = addFile("/away.gguf");
    const tab = shared();
    await tab.open("a", "/away.gguf");
    await tab.get("complete", "a");
    await tab.get("close", "a");
    await tab.page.context().setOffline(true);
    await tab.open("b", "/away.gguf");
    await expectAll(tab, "b", file);
    await tab.page.context().setOffline(false);
  });
});
