// Model files are verified, kept as long as there is room, listed and deleted; an abort ends everything.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { cutAfter, status } from "./faults.mjs";
import {
  addFile,
  CHUNK,
  chunkFiles,
  elsewhere,
  enter,
  expectAll,
  files,
  newContext,
  newTab,
  otherRoutes,
  routes,
  server,
  sha256,
  sharedTab,
  sleep,
  until,
} from "./store.mjs";

describe("hashes", { timeout: 240_000 }, () => {
  const shared = sharedTab({ realm: "worker" });
  const hubFile = (bytes, pointer) => {
    const file = addFile("/org/repo/resolve/main/m.gguf", bytes);
    routes["/org/repo/raw/main/m.gguf"] = (_, response) => response.end(pointer(bytes));
    return file;
  };
  const pointer = (bytes, hash = sha256(bytes)) =>
    `version https://git-lfs.github.com/spec/v1\noid sha256:${hash}\nsize ${bytes.length}\n`;

  it("of the hub are compared with the whole file, across a break too", async () => {
    const file = hubFile(randomBytes(CHUNK * 5 + 1), pointer);
    const tab = shared();
    file.fault = ({ first, isProbe }, _, response) => !isProbe && first > CHUNK && response.destroy() === response;
    const hub = server.origin;
    await tab.open("a", "hf:org/repo/m.gguf", { hub });
    assert.equal(await tab.code("complete", "a"), "network");
    file.fault = () => false;
    await tab.get("close", "a");
    await tab.open("b", "hf:org/repo/m.gguf", { hub });
    await expectAll(tab, "b", file);
    await tab.get("complete", "b");
    assert.equal((await tab.get("call", "listModels"))[0].complete, true);
    await tab.get("close", "b");
    await tab.get("call", "deleteModel", "hf:org/repo/m.gguf", { hub });
  });

  it("of the hub that do not fit: integrity, and nothing is kept", async () => {
    const wrong = sha256("other");
    const tab = shared();
    for (const tell of ["pointer", "x-linked-etag", "etag"]) {
      const bytes = randomBytes(CHUNK * 3);
      const file = hubFile(bytes, (bytes) => (tell === "pointer" ? pointer(bytes, wrong) : "none"));
      if (tell === "x-linked-etag") file.headers = { "x-linked-etag": `"${wrong}"` };
      if (tell === "etag") file.etag = `"${wrong}"`;
      await tab.open("a", "hf:org/repo/m.gguf", { hub: server.origin });
      assert.equal(await tab.code("complete", "a"), "integrity", tell);
      assert.equal(await tab.code("read", "a", 0, 0, 5), "integrity");
      await tab.get("close", "a");
      assert.deepEqual(await chunkFiles(tab), []);
    }
  });

  it("of a server to which the hub redirects are not taken for the file's", async () => {
    const file = hubFile(randomBytes(CHUNK * 2), () => "none");
    const target = addFile("/cdn.gguf", file.bytes, otherRoutes);
    target.etag = `"${sha256("a tree of hashes")}"`;
    target.headers = { "access-control-expose-headers": "content-range, etag" };
    file.fault = (_r, _q, response) =>
      response.writeHead(302, { location: `${elsewhere.origin}/cdn.gguf` }).end() === response;
    const tab = shared();
    await tab.open("a", "hf:org/repo/m.gguf", { hub: server.origin });
    await tab.get("complete", "a");
    await tab.get("close", "a");
  });

  it("that the caller gives are compared, of the file and of chunks", async () => {
    const file = addFile("/given.gguf", randomBytes(CHUNK * 3));
    const chunks = [0, 1, 2].map((n) => sha256(file.bytes.subarray(n * CHUNK, (n + 1) * CHUNK)));
    const right = { chunks, sha256: sha256(file.bytes) };
    const tab = shared();
    const given = (hashes, storage = "auto") => ({ hashes: { "given.gguf": hashes }, storage });
    for (const storage of ["auto", "none"]) {
      for (const wrong of [{ chunks: [chunks[0], chunks[0], chunks[2]] }, { sha256: chunks[0] }]) {
        await tab.open("a", "/given.gguf", given(wrong, storage));
        const code = await tab.code("readAll", "a", 0, 1000);
        // With a disk, the whole file may be read before its hash is done.
        if (storage === "none" || wrong.chunks) assert.equal(code, "integrity");
        if (storage === "auto") assert.equal(await tab.code("complete", "a"), "integrity");
        await tab.get("close", "a");
      }
    }
    assert.equal(await tab.openCode("a", "/given.gguf", given({ chunks: chunks.slice(1) })), "invalid-request");
    await tab.open("b", "/given.gguf", given(right));
    await tab.get("complete", "b");
    await expectAll(tab, "b", file);
  });
});

describe("the disk", { timeout: 240_000 }, () => {
  it("that has no room is found before, and one that gets full later: quota; then there is room", async () => {
    const file = addFile("/quota.gguf", randomBytes(CHUNK * 20));
    const context = await newContext();
    const tab = await newTab(context, { realm: "worker" });
    const cdp = await context.newCDPSession(tab.page);
    const limit = (quotaSize) => cdp.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize });
    await limit(CHUNK * 10);
    assert.equal(await tab.openCode("a", "/quota.gguf"), "quota");
    assert.equal(file.asked.length, 0);
    assert.deepEqual(await tab.get("call", "listModels"), []);
    await limit(CHUNK * 30);
    file.gate = ({ first }) => first >= 2 * CHUNK;
    await tab.open("b", "/quota.gguf");
    await limit(CHUNK * 5);
    file.release();
    assert.equal(await tab.code("complete", "b"), "quota");
    await tab.get("close", "b");
    await limit();
    await tab.open("c", "/quota.gguf");
    await tab.get("complete", "c");
    await expectAll(tab, "c", file);
  });

  it("shows what it has, and lets it be deleted unless it is open", async () => {
    const [big, part] = [addFile("/big.gguf"), addFile("/part.gguf")];
    part.fault = ({ first, isProbe }, ...rest) => !isProbe && first >= 2 * CHUNK && status(500)({}, ...rest);
    const context = await newContext();
    const [tab, other] = [await newTab(context, { realm: "worker" }), await newTab(context)];
    await tab.open("p", "/part.gguf");
    await tab.code("complete", "p");
    await tab.get("close", "p");
    await tab.open("a", "/big.gguf");
    await tab.get("complete", "a");
    const [first, second] = await other.where.evaluate(async () => {
      const models = await globalThis.store.listModels();
      return models.map((model) => ({ ...model, lastUsed: Date.now() - model.lastUsed }));
    });
    const source = `${server.origin}/big.gguf`;
    const total = big.bytes.length;
    assert.deepEqual(
      { ...first, lastUsed: 0 },
      { source, bytes: total, totalBytes: total, complete: true, lastUsed: 0 },
    );
    assert.ok(first.lastUsed >= 0 && first.lastUsed < 20_000);
    assert.deepEqual([second.complete, second.totalBytes], [false, total]);
    assert.ok(second.bytes < total && second.bytes % CHUNK === 0, `${second.bytes}`);
    assert.ok((await other.get("call", "storageEstimate")).usage >= total);
    assert.equal(await other.code("call", "deleteModel", "/big.gguf"), "busy");
    await expectAll(tab, "a", big);
    await tab.get("close", "a");
    for (const model of [source, "part.gguf"]) {
      await other.get("call", "deleteModel", new URL(model, server.origin).href);
    }
    assert.deepEqual(await other.get("call", "listModels"), []);
    assert.deepEqual(await chunkFiles(other), []);
    await other.get("call", "deleteModel", "hf:org/never/loaded.gguf");
  });

  it("reads again what another tab replaces while it is read", async () => {
    const file = addFile("/replaced.gguf");
    const tab = await newTab(await newContext());
    await tab.open("a", "/replaced.gguf");
    await tab.get("complete", "a");
    await tab.get("close", "a");
    // Each record is written anew, once, between its opening and its reading.
    await tab.where.evaluate((most) => {
      const { getFile } = FileSystemFileHandle.prototype;
      globalThis.replaced = new Set();
      FileSystemFileHandle.prototype.getFile = async function () {
        const found = await getFile.call(this);
        if (found.size >= most || globalThis.replaced.has(this.name)) return found;
        globalThis.replaced.add(this.name);
        const bytes = await (await getFile.call(this)).arrayBuffer();
        const writable = await this.createWritable();
        await writable.write(bytes);
        await writable.close();
        await found.arrayBuffer().then(
          () => globalThis.replaced.delete(this.name),
          (error) => (globalThis.error = error.name),
        );
        return found;
      };
    }, CHUNK);
    await tab.get("open", "b", "/replaced.gguf");
    await expectAll(tab, "b", file);
    const [names, error] = await tab.where.evaluate(() => [[...globalThis.replaced].sort(), globalThis.error]);
    // The last chunk is short, and so among them.
    assert.deepEqual(names, ["4", "model", "record"]);
    assert.equal(error, "NotReadableError");
  });

  it("without OPFS is the Cache API: kept, verified, resumed, listed, deleted", async () => {
    const file = addFile("/cache.gguf");
    const init = () => delete StorageManager.prototype.getDirectory;
    const tab = await newTab(await newContext(), { init });
    file.fault = ({ first, isProbe }, ...rest) => !isProbe && first >= 3 * CHUNK && status(500)({}, ...rest);
    await tab.open("a", "/cache.gguf");
    await tab.code("complete", "a");
    await tab.get("close", "a");
    file.fault = () => false;
    const [{ bytes, complete }] = await tab.get("call", "listModels");
    assert.deepEqual([bytes > 0, complete], [true, false]);
    file.asked = [];
    await tab.open("b", "/cache.gguf");
    await expectAll(tab, "b", file);
    await tab.get("complete", "b");
    assert.equal(file.asked.length, 5 - bytes / CHUNK);
    await tab.get("close", "b");
    await tab.page.evaluate(async () => {
      const cache = await caches.open("aloud-1");
      const key = (await cache.keys()).find(({ url }) => url.endsWith("/1"));
      const response = await cache.match(key);
      const bytes = new Uint8Array(await response.clone().arrayBuffer());
      bytes[5] ^= 1;
      await cache.put(key, new Response(bytes, { headers: response.headers }));
    });
    file.asked = [];
    const again = await enter(tab.page);
    await again.open("c", "/cache.gguf");
    await expectAll(again, "c", file);
    assert.deepEqual(file.asked, [CHUNK]);
    await again.get("close", "c");
    await again.get("call", "deleteModel", "/cache.gguf");
    assert.deepEqual(await again.get("call", "listModels"), []);
    assert.equal(await again.page.evaluate(async () => (await (await caches.open("aloud-1")).keys()).length), 0);
  });

  it("is not used with storage none, nor when there is none", async () => {
    const file = addFile("/none.gguf", randomBytes(CHUNK * 12 + 7));
    const init = () => {
      delete StorageManager.prototype.getDirectory;
      CacheStorage.prototype.open = () => Promise.reject(new DOMException("no", "SecurityError"));
    };
    const context = await newContext();
    for (const [tab, storage] of [
      [await newTab(context), "none"],
      [await newTab(context, { init }), "auto"],
    ]) {
      file.asked = [];
      await tab.open("a", "/none.gguf", { storage });
      await expectAll(tab, "a", file);
      await tab.get("complete", "a");
      assert.equal(file.asked.length, 13);
      assert.equal(await tab.get("read", "a", 0, 3, 5), sha256(file.bytes.subarray(3, 8)));
      await tab.get("close", "a");
      if (storage === "none") assert.deepEqual(await chunkFiles(tab), []);
    }
  });
});

describe("an abort", { timeout: 240_000 }, () => {
  const shared = sharedTab({ realm: "worker" });
  const promptly = async (promise, what) => {
    const begunMs = Date.now();
    assert.equal(await promise, "aborted", what);
    assert.ok(Date.now() - begunMs < 1000, what);
  };

  for (const storage of ["auto", "none"]) {
    it(`ends connecting, downloading and reading at once (${storage})`, async () => {
      const file = addFile("/abort.gguf");
      const tab = shared();
      file.fault = () => true; // Nothing is answered.
      const opening = tab.openCode("a", "/abort.gguf", { storage });
      await until(() => file.open === 1, "the request");
      await tab.call("abort", "a");
      await promptly(opening, "connect");
      await until(() => file.open === 0, "the end of requests");
      file.fault = ({ isProbe, ...range }, ...rest) => !isProbe && cutAfter(file, 10, { hang: true })(range, ...rest);
      await tab.open("b", "/abort.gguf", { storage });
      const reading = tab.code("read", "b", 0, 3 * CHUNK, 5);
      await until(() => file.open >= 1, "the requests");
      await tab.call("abort", "b");
      await promptly(reading, "download");
      await until(() => file.open === 0, "the end of requests");
      await tab.get("close", "b");
      file.fault = () => false;
      await tab.open("c", "/abort.gguf", { storage });
      await expectAll(tab, "c", file);
      if (storage === "auto") await tab.get("complete", "c");
      await tab.call("abort", "c");
      await promptly(tab.code("read", "c", 0, 0, 5), "verify");
      await tab.get("close", "c");
    });
  }

  it("ends a pause before another attempt, and waiting for another tab", async () => {
    const file = addFile("/wait.gguf");
    const tab = shared();
    const other = await newTab(tab.page.context());
    file.fault = status(503, { "retry-after": "20" });
    const opening = tab.openCode("a", "/wait.gguf");
    await sleep(200);
    await tab.call("abort", "a");
    await promptly(opening, "pause");
    file.fault = ({ isProbe }) => !isProbe;
    await tab.open("b", "/wait.gguf");
    await other.open("b", "/wait.gguf");
    const reading = other.code("read", "b", 0, 0, 5);
    await sleep(200);
    await other.call("abort", "b");
    await promptly(reading, "other tab");
    await tab.get("close", "b");
    await until(() => file.open === 0, "the end of requests");
  });
});

describe("models of several files", { timeout: 240_000 }, () => {
  const shared = sharedTab({ realm: "worker" });
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const index = Buffer.from(JSON.stringify({ weight_map: { a: shards[1], b: shards[0] } }));

  it("are folders with shards, whose small files are kept too", async () => {
    const folder = "/org/sharded/resolve/main/";
    addFile(`${folder}config.json`, Buffer.from("{}"));
    addFile(`${folder}tokenizer.json`, randomBytes(CHUNK + 3));
    addFile(`${folder}chat_template.jinja`, Buffer.alloc(0));
    addFile(`${folder}model.safetensors.index.json`, index);
    for (const name of shards) addFile(folder + name);
    const tab = shared();
    const expected = {
      kind: "folder",
      name: "sharded",
      files: shards.map((name) => ({ name, size: CHUNK * 4 + 1000 })),
      small: {
        "config.json": 2,
        "tokenizer.json": CHUNK + 3,
        "chat_template.jinja": 0,
        "model.safetensors.index.json": index.length,
      },
    };
    const hub = { hub: server.origin };
    const pointers = [];
    for (const name of [...shards, "config.json", "tokenizer.json"]) {
      routes[`/org/sharded/raw/main/${name}`] = (_, response) => (pointers.push(name), response.writeHead(404).end());
    }
    assert.deepEqual(await tab.open("a", "hf:org/sharded/", hub), expected);
    assert.deepEqual(pointers, shards, "only large files have pointers");
    assert.equal(await tab.get("readAll", "a", 1, CHUNK), sha256(files.get(folder + shards[1]).bytes));
    await tab.get("complete", "a");
    const [{ source, complete }, ...more] = await tab.get("call", "listModels");
    assert.deepEqual([source, complete, more], [server.origin + folder, true, []]);
    await tab.get("close", "a");
    await tab.page.context().setOffline(true);
    assert.deepEqual(await tab.open("b", "hf:org/sharded", hub), expected);
    assert.equal(await tab.get("readAll", "b", 0, CHUNK), sha256(files.get(folder + shards[0]).bytes));
    await tab.get("close", "b");
    await tab.page.context().setOffline(false);
    await tab.get("call", "deleteModel", "hf:org/sharded/", hub);
    assert.deepEqual(await tab.get("call", "listModels"), []);
  });

  it("are folders with one file; one without a configuration is refused", async () => {
    for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) addFile(`/single/${name}`);
    const tab = shared();
    const { name, files: found } = await tab.open("a", "/single/");
    assert.deepEqual([name, found.length, found[0].name], ["single", 1, "model.safetensors"]);
    await tab.get("complete", "a");
    files.get("/single/config.json").fault = status(404);
    assert.equal(await tab.openCode("b", "/single/"), "http-status");
  });

  it("are split GGUFs, and files from disk", async () => {
    const names = [1, 2, 3].map((n) => `/split-0000${n}-of-00003.gguf`);
    const parts = names.map((name) => addFile(name));
    const tab = shared();
    const opened = await tab.open("a", names[1]);
    assert.deepEqual(
      opened.files.map(({ name }) => `/${name}`),
      names,
    );
    for (const i of [2, 0, 1]) assert.equal(await tab.get("readAll", "a", i, 99_999), sha256(parts[i].bytes));
    const found = await tab.where.evaluate(async () => {
      const root = await navigator.storage.getDirectory();
      const handle = await root.getFileHandle("picked.gguf", { create: true });
      const writable = await handle.createWritable();
      await writable.write("0123456789");
      await writable.close();
      const found = [];
      for (const file of [new File(["0123456789"], "a.gguf"), new Blob(["0123456789"]), handle]) {
        const model = await globalThis.store.openModel(file, { storage: "auto" });
        const code = await model.files[0].read(6, 5).catch((error) => error.code);
        found.push([model.name, new TextDecoder().decode(await model.files[0].read(3, 4)), code]);
        await model.close();
      }
      return found;
    });
    assert.deepEqual(
      found,
      ["a.gguf", "file", "picked.gguf"].map((name) => [name, "3456", "invalid-request"]),
    );
  });
});

describe("a tombstone", { timeout: 240_000 }, () => {
  it("tells the next visit in which phase a tab was killed, and nothing of tabs that live or ended well", async () => {
    const context = await newContext();
    const [tab, next] = [await newTab(context, { realm: "worker" }), await newTab(context)];
    for (const phase of ["download", "upload"]) await tab.get("call", "markPhase", "hf:o/r/a.gguf", phase);
    assert.equal(await next.get("call", "lastCrash"), null);
    await tab.page.goto("chrome://crash").catch(() => {});
    await tab.page.close();
    await until(async () => (await next.get("call", "lastCrash")) !== null, "the tombstone");
    const { source, phase } = await next.get("call", "lastCrash");
    assert.deepEqual([source, phase], ["hf:o/r/a.gguf", "upload"]);
    await next.get("call", "markPhase", "hf:o/r/a.gguf", "upload");
    await next.get("call", "clearPhase");
    assert.equal(await (await enter(next.page)).get("call", "lastCrash"), null);
  });

  it("takes no tab for killed that begins while it looks", async () => {
    const context = await newContext();
    const [tab, next] = [await newTab(context, { realm: "worker" }), await newTab(context)];
    await next.page.exposeFunction("begin", () => tab.get("call", "markPhase", "hf:o/r/a.gguf", "download"));
    await next.page.evaluate(() => {
      const { query } = LockManager.prototype;
      LockManager.prototype.query = async function () {
        const locks = await query.call(this);
        await begin();
        return locks;
      };
    });
    assert.equal(await next.get("call", "lastCrash"), null);
  });
});
