// Loading as a page sees it: every kind of source, what is no model, an abort in every phase, and what happens while it waits.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, describe, it } from "node:test";
import { openPackage } from "./browser.mjs";
import { FaultyFile } from "./faults.mjs";
import { splitGguf, withVocabulary } from "./gguf.mjs";
import { goldens, modelRoutes, R1_HEADER, ROOT, SMOLLM2 } from "./models.mjs";
import { until } from "./wait.mjs";

const QUESTION = [{ role: "user", content: "What is 123 times 45?" }];
const TINY = "/models/tiny-r1-distill.gguf";
const PHASES = ["connect", "download", "verify", "upload", "compile", "ready"];

describe("loading", { timeout: 900_000 }, () => {
  let browser, tiny, large;
  const routes = {};
  const run = (...args) => browser.run(...args);
  const serve = (path, bytes) => (routes[path] = Object.assign(new FaultyFile(bytes), { etag: `"${path} ${bytes.length}"` }).handler);
  before(async () => {
    const bytes = await readFile(`${ROOT}models/tiny-r1-distill.gguf`);
    [tiny, large] = [new FaultyFile(bytes), new FaultyFile(await readFile(SMOLLM2))];
    splitGguf(bytes, 3).forEach((part, i) => serve(`/split-0000${i + 1}-of-00003.gguf`, part));
    serve("/vocabulary.gguf", withVocabulary(bytes, await readFile(R1_HEADER)));
    Object.assign(routes, await modelRoutes(), { "/slow.gguf": tiny.handler, "/large.gguf": large.handler });
    browser = await openPackage(routes);
    await run(async (question) => {
      Object.assign(globalThis, await import("/test/in-page.mjs"));
      /** Loads, and says how it begins to answer; `also` are further options. */
      globalThis.ask = async (model, also, content = question) => {
        const engine = await aloud.load({ model, contextLength: 256, drafts: "off", ...also });
        const { reasoning } = await collect(engine.chat([{ role: "user", content }], { temperature: 0, max_tokens: 8 }));
        await engine.dispose();
        return reasoning;
      };
      globalThis.file = async (url) => new File([await (await fetch(url)).blob()], "picked.gguf");
      globalThis.expected = await ask("/models/tiny-r1-distill.gguf", { storage: "none" });
    }, QUESTION[0].content);
  });
  after(() => browser?.close());
  afterEach(() => run(async () => {
    for (const { source } of await aloud.listModels()) await aloud.deleteModel(source);
  }));

  describe("takes", () => {
    const same = async (work) => {
      const [found, expected] = await run(work);
      assert.ok(expected.length > 5, expected);
      assert.equal(found, expected);
    };
    it("a File", () => same(async () => [await ask(await file("/models/tiny-r1-distill.gguf")), expected]));
    it("a FileSystemFileHandle", () => same(async () => {
      const root = await navigator.storage.getDirectory();
      const handle = await root.getFileHandle("picked.gguf", { create: true });
      const writable = await handle.createWritable();
      await writable.write(await file("/models/tiny-r1-distill.gguf"));
      await writable.close();
      return [await ask(handle), expected];
    }));
    it("a split GGUF, by one of its parts", () => same(async () => [await ask("/split-00002-of-00003.gguf"), expected]));
    it("a split GGUF, by its files", () => same(async () => {
      const parts = [1, 2, 3].map((n) => file(`/split-0000${n}-of-00003.gguf`));
      return [await ask(await Promise.all(parts)), expected];
    }));
    it("a folder of safetensors", async () => {
      const [{ question, text }] = await goldens("tiny_r1");
      const found = await run((content) => ask("/models/tiny-r1/", { worker: false }, content), question);
      assert.ok(found.length > 5 && text.startsWith(found), `${found}, expected ${text}`);
    });
  });

  describe("refuses, keeps nothing of, and loads when it is there", () => {
    const html = Buffer.from(`<!doctype html><title>Not found</title>${"<p>There is no such page.</p>".repeat(99)}`);
    for (const [what, bytes] of [
      ["random bytes", () => randomBytes(3_000_000)],
      ["an HTML page", () => html],
      ["a GGUF cut in its header", (whole) => whole.subarray(0, 20_000)],
      ["a GGUF cut in its weights", (whole) => whole.subarray(0, 2_000_000)],
    ]) {
      it(what, async () => {
        const whole = tiny.bytes;
        const load = (worker) =>
          run(([worker]) => thrown(() => aloud.load({ model: "/slow.gguf", contextLength: 256, worker })), [worker]);
        try {
          tiny.bytes = bytes(whole);
          tiny.etag = `"${what}"`;
          for (const worker of [true, false]) {
            const error = await load(worker);
            assert.equal(error?.code, "not-a-model", error?.message);
            assert.deepEqual(await run(() => aloud.listModels()), []);
          }
        } finally {
          tiny.bytes = whole;
          tiny.etag = '"1"';
        }
        assert.equal(await run(() => ask("/slow.gguf")), await run(() => expected));
      });
    }
  });

  it("works in a worker of the page's own, in its thread and in one more", async () => {
    const script = `
      import { load } from "/dist/index.js";
      onmessage = async ({ data: { model, question, worker } }) => {
        try {
          const engine = await load({ model, worker, contextLength: 256, drafts: "off", storage: "none" });
          let text = "";
          for await (const event of engine.chat([{ role: "user", content: question }], { temperature: 0, max_tokens: 8 }))
            if (event.type === "reasoning") text += event.text;
          await engine.dispose();
          postMessage(text);
        } catch (error) { postMessage(String(error.stack)); }
      };`;
    routes["/own-worker.mjs"] = (_, response) => response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    const answers = await run(async ([model, question]) => {
      const ask = (worker) => new Promise((resolve) => {
        const own = new Worker("/own-worker.mjs", { type: "module" });
        own.onmessage = ({ data }) => (own.terminate(), resolve(data));
        own.onerror = ({ message }) => resolve(message);
        own.postMessage({ model: new URL(model, location.href).href, question, worker });
      });
      return [expected, await ask(false), await ask(true)];
    }, [TINY, QUESTION[0].content]);
    assert.deepEqual(answers, Array(3).fill(answers[0]));
  });

  it("compares a file with the hash that is given, and keeps nothing of another", async () => {
    const right = createHash("sha256").update(tiny.bytes).digest("hex");
    for (const [sha256, code] of [[right.replace(/^./, (c) => (c === "0" ? "1" : "0")), "integrity"], [right, undefined]]) {
      const { error, listed } = await run(async (sha256) => {
        const error = await thrown(() => ask("/slow.gguf", { hashes: { "slow.gguf": { sha256 } } }));
        return { error, listed: (await aloud.listModels()).length };
      }, sha256);
      assert.equal(error?.code, code, error?.message);
      assert.equal(listed, code ? 0 : 1);
    }
  });

  it("goes through its phases in order on a slow link, and tells how far each is", async () => {
    large.bytesPerSecond = 5_000_000;
    const { told, marks } = await run(async () => {
      const { createWritable } = FileSystemFileHandle.prototype;
      let marks = 0;
      FileSystemFileHandle.prototype.createWritable = function (...args) {
        if (/^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(this.name)) marks++; // A tab's record of what it is busy with.
        return createWritable.apply(this, args);
      };
      const told = [];
      const options = { model: "/large.gguf", contextLength: 256, worker: false, drafts: "off" };
      const engine = await aloud.load({ ...options, onProgress: (p) => told.push(p) });
      await engine.dispose();
      FileSystemFileHandle.prototype.createWritable = createWritable;
      return { told, marks };
    });
    large.bytesPerSecond = 0;
    const phases = told.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1]);
    assert.deepEqual(phases, PHASES.filter((phase) => phases.includes(phase)), "each once, in order");
    for (const phase of ["connect", "download", "compile", "ready"]) assert.ok(phases.includes(phase), phase);
    const downloads = told.filter(({ phase }) => phase === "download");
    assert.ok(downloads.length > 10, `${downloads.length} of the download`);
    for (const phase of PHASES) {
      const loaded = told.filter((p) => p.phase === phase).map((p) => p.loaded);
      assert.deepEqual(loaded, loaded.toSorted((a, b) => a - b), phase);
    }
    assert.ok(marks > 0 && marks < phases.length, `${marks} records of a phase`);
  });

  it("sends weights to the GPU and compiles before the last bytes come; an answer then compiles nothing", async () => {
    const last = Math.floor(large.bytes.length / (16 << 20)) * (16 << 20);
    large.gate = ({ first }) => first >= last;
    await run(() => {
      const seen = (globalThis.seen = { bytes: 0, pipelines: 0, loaded: false });
      const hook = (prototype, name, count) => {
        const original = prototype[name];
        prototype[name] = function (...args) {
          count(...args);
          return original.apply(this, args);
        };
        return () => (prototype[name] = original);
      };
      const restore = [
        hook(GPUQueue.prototype, "writeBuffer", (_b, _o, data, _d, size) => (seen.bytes += size ?? data.byteLength)),
        hook(GPUBuffer.prototype, "getMappedRange", (_o, size = 0) => (seen.bytes += size)),
        hook(GPUDevice.prototype, "createComputePipeline", () => seen.pipelines++),
        hook(GPUDevice.prototype, "createComputePipelineAsync", () => seen.pipelines++),
      ];
      const options = { model: "/large.gguf", contextLength: 256, worker: false, drafts: "off" };
      globalThis.loading = aloud.load(options).then((engine) => ((seen.loaded = true), engine));
      globalThis.restore = () => restore.forEach((back) => back());
    });
    await until(() => large.waiting.length > 0, "the request of the last bytes", 120_000);
    // The embedding and layers 0 to 2: the file has its layers by name, so the third is in the last chunk.
    await until(() => run(() => seen.bytes > 32e6), "weights on the GPU", 120_000);
    const early = await run(() => ({ ...seen }));
    assert.ok(!early.loaded && early.pipelines > 10, JSON.stringify(early));
    large.release();
    const [ready, done] = await run(async (messages) => {
      const engine = await loading;
      const ready = seen.pipelines;
      await collect(engine.chat(messages, { temperature: 0, max_tokens: 3 }));
      await engine.dispose();
      restore();
      return [ready, seen.pipelines];
    }, QUESTION);
    assert.equal(done, ready, "pipelines that an answer made");
    const made = `${early.bytes} bytes of ${large.bytes.length} on the GPU and ${early.pipelines} of ${ready} pipelines`;
    console.log(`# ${made} made before the last chunk`);
  });

  it("a model of 152,064 tokens takes at most 64 MiB of wasm memory", async () => {
    const { tokens, wasmBytes } = await run(async () => {
      const engine = await aloud.load({ model: "/vocabulary.gguf", contextLength: 256, drafts: "off" });
      const { done } = await collect(engine.chat([{ role: "user", content: "Hello" }], { temperature: 0, max_tokens: 2 }));
      await engine.dispose();
      return { tokens: done.usage.completion_tokens, wasmBytes: engine.model.wasmBytes };
    });
    console.log(`# ${(wasmBytes / 2 ** 20).toFixed(1)} MiB of wasm memory`);
    assert.equal(tokens, 2);
    assert.ok(wasmBytes <= 64 << 20, `${wasmBytes} bytes`);
  });

  describe("ends when it is aborted, leaves nothing, and works again", () => {
    for (const [phase, source] of [
      ["connect", "url"], ["download", "slow"], ["verify", "kept"], ["upload", "file"], ["compile", "url"],
      ["compile", "stored"], ["ready", "url"],
    ]) {
      for (const worker of [true, false]) {
        it(`${phase}, ${source}${worker ? ", in a worker" : ""}`, async () => {
          tiny.bytesPerSecond = source === "slow" ? 1_000_000 : 0;
          const { error, reached, held, devices, same } = await run(async ([phase, source, worker]) => {
            const urls = { kept: "/large.gguf", file: "/models/tiny-r1-distill.gguf" };
            const url = urls[source] ?? "/slow.gguf";
            const model = source === "file" ? await file(url) : url;
            const options = { contextLength: 256, worker };
            // The large one verifies for long enough, and answers too slowly.
            const open = () => aloud.load({ model, ...options }).then((engine) => engine.dispose());
            const begin = source === "kept" ? open : () => ask(model, options);
            const before = source === "kept" || source === "stored" ? await begin() : expected;
            const memory = watchMemory();
            const abort = new AbortController();
            let reached = false;
            const onProgress = (progress) => {
              if (progress.phase !== phase || (phase === "download" && progress.loaded === 0)) return;
              reached = true;
              abort.abort();
            };
            const error = await thrown(() => aloud.load({ ...options, model, signal: abort.signal, onProgress }));
            memory.stop();
            const devices = memory.devices();
            return { error, reached, held: memory.held, devices, same: (await begin()) === before };
          }, [phase, source, worker]);
          tiny.bytesPerSecond = 0;
          assert.ok(reached, `never came to ${phase}`);
          assert.equal(error?.code, "aborted", error?.message);
          assert.deepEqual([held, devices, same], [0, 0, true]);
          await until(() => browser.page.workers().length === 0, "the end of workers");
        });
      }
    }

    it("a probe: of the header, and while the GPU is measured", async () => {
      tiny.gate = () => true;
      const header = run(async () => {
        globalThis.abort = new AbortController();
        return thrown(() => aloud.probe({ model: "/slow.gguf", signal: abort.signal }));
      });
      await until(() => tiny.waiting.length > 0, "the header's request");
      await run(() => abort.abort());
      assert.equal((await header)?.code, "aborted");
      tiny.release();
      const { code, seconds, held, devices, verdict } = await run(async () => {
        const memory = watchMemory();
        const { devices, stop } = recordDevices();
        const abort = new AbortController();
        const probing = thrown(() => aloud.probe({ signal: abort.signal }));
        while (devices.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        const begun = performance.now();
        abort.abort();
        const error = await probing;
        const seconds = (performance.now() - begun) / 1000;
        memory.stop();
        stop();
        const { model } = await aloud.probe({ model: "/slow.gguf" });
        return { code: error?.code, seconds, held: memory.held, devices: memory.devices(), verdict: model.verdict };
      });
      assert.deepEqual([code, held, devices, verdict], ["aborted", 0, 0, "ok"]);
      assert.ok(seconds < 10, `${seconds} s`);
    });

    for (const worker of [true, false]) {
      it(`an answer: at its prompt, and among its tokens${worker ? ", in a worker" : ""}`, async () => {
        const { codes, more, held, again } = await run(async ([messages, worker]) => {
          const memory = watchMemory();
          const engine = await aloud.load({ model: "/models/tiny-r1-distill.gguf", contextLength: 256, worker, drafts: "off" });
          const before = memory.held;
          const codes = [];
          for (const type of ["prefill", "reasoning"]) {
            const abort = new AbortController();
            const error = await thrown(async () => {
              for await (const event of engine.chat(messages, { signal: abort.signal })) if (event.type === type) abort.abort();
            });
            codes.push(error?.code);
          }
          const more = memory.held - before;
          const { reasoning } = await collect(engine.chat(messages, { temperature: 0, max_tokens: 8 }));
          await engine.dispose();
          memory.stop();
          return { codes, more, held: memory.held, again: reasoning };
        }, [QUESTION, worker]);
        assert.deepEqual([codes, more, held], [["aborted", "aborted"], 0, 0]);
        assert.equal(again, await run(() => expected));
      });
    }
  });

  it("leaves no error on the page", () => assert.deepEqual(browser.problems, []));
});
