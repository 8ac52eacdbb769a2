// What is measured when a model is loaded: measured once, kept, used, and never believed blindly.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, beforeEach, describe, it } from "node:test";
import { openPackage } from "./browser.mjs";
import { goldens, modelRoutes } from "./models.mjs";

const TINY = "/models/tiny-r1-distill.gguf";

describe("tuning", { timeout: 900_000 }, () => {
  let browser;
  const run = (...args) => browser.run(...args);
  before(async () => {
    browser = await openPackage(await modelRoutes());
    await run(async () => {
      Object.assign(globalThis, await import("/test/in-page.mjs"));
      /** Weights that were made to be measured, and when; and when the first buffer came after them. */
      globalThis.measured = { count: 0, begun: 0, ended: 0 };
      const { createBuffer } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        const isWeight = descriptor.label?.startsWith("aloud.tune.weight");
        if (isWeight) measured.count++ === 0 && (measured.begun = performance.now());
        else if (measured.count > 0 && !/tune|readback|clock|scratch/.test(descriptor.label)) measured.ended ||= performance.now();
        return createBuffer.call(this, descriptor);
      };
      /** Loads in this thread unless told otherwise: what was chosen, how many were measured, and an answer to `question`. */
      globalThis.tuned = async ({ question, ...options }) => {
        Object.assign(measured, { count: 0, begun: 0, ended: 0 });
        const begun = performance.now();
        const engine = await aloud.load({ contextLength: 512, worker: false, drafts: "off", tune: "on", ...options });
        const ready = performance.now() - begun;
        const { tuning } = engine.model;
        const answered = question && (await collect(engine.chat([{ role: "user", content: question }], { temperature: 0 })));
        const said = answered && [answered.reasoning, answered.answer];
        await engine.dispose();
        return { tuning, ready, said, measured: measured.count, took: measured.ended - measured.begun };
      };
      const folder = async () => (await navigator.storage.getDirectory()).getDirectoryHandle("aloud-1", { create: true });
      /** The file's bytes, or null. */
      globalThis.readFile = async () => {
        const handle = await (await folder()).getFileHandle("tunings").catch(() => null);
        return handle && [...new Uint8Array(await (await handle.getFile()).arrayBuffer())];
      };
      globalThis.writeFile = async (bytes) => {
        const writable = await (await (await folder()).getFileHandle("tunings", { create: true })).createWritable();
        await writable.write(new Uint8Array(bytes));
        await writable.close();
      };
      globalThis.removeFile = async () => (await folder()).removeEntry("tunings").catch(() => {});
    });
  });
  after(() => browser?.close());

  const load = (options) => run((options) => tuned(options), { model: TINY, ...options });
  /** What is kept, or null. */
  const kept = async () => {
    const bytes = await run(() => readFile());
    return bytes && JSON.parse(Buffer.from(bytes).subarray(0, -32)).known;
  };
  /** Keeps any text, with its hash behind it as if it were ours. */
  const keep = (text) => {
    const bytes = Buffer.from(text);
    return run((bytes) => writeFile(bytes), [...bytes, ...createHash("sha256").update(bytes).digest()]);
  };

  describe("of a model that is loaded first", () => {
    let first;
    before(async () => {
      await run(() => removeFile());
      first = await load({});
    });

    it("measures and keeps what it found", async () => {
      const { tuning, measured, took, ready } = first;
      console.log(`# ${tuning}: measured in ${took.toFixed(0)} ms, ready after ${ready.toFixed(0)}`);
      assert.ok(measured > 0);
      assert.match(tuning, /^Q8_0\/(narrow|middle|wide)=\d+/);
      const [{ device, key, text }, ...others] = await kept();
      assert.deepEqual([text, others], [tuning, []]);
      assert.match(device, /Chrome\/\d+/);
      assert.match(key, /subgroups \d+, kernels [0-9a-f]{16}$/);
    });

    it("measures nothing again, in the page's thread or in a worker", async () => {
      const before = await run(() => readFile());
      // What there was no time for is measured once there is.
      let again = await load({});
      for (let loads = 0; again.measured > 0 && loads < 4; loads++) again = await load({});
      assert.equal(again.measured, 0);
      assert.ok(again.tuning.startsWith(first.tuning), again.tuning);
      const known = await run(() => readFile());
      if (again.tuning === first.tuning) assert.deepEqual(known, before);
      assert.equal((await load({ worker: true })).tuning, again.tuning);
      assert.deepEqual(await run(() => readFile()), known);
    });

    it("is no model, and outlives them", async () => {
      const [listed, left] = await run(async () => {
        const listed = (await aloud.listModels()).map(({ source }) => source.split("/").at(-1));
        for (const { source } of await aloud.listModels()) await aloud.deleteModel(source);
        return [listed, await aloud.listModels()];
      });
      assert.deepEqual([listed, left], [["tiny-r1-distill.gguf"], []]);
      assert.equal((await load({})).measured, 0);
    });

    it("measures of another model what is new, and keeps both", async () => {
      const [{ text }] = await kept();
      const other = await load({ model: "/models/tiny-r1/" });
      assert.ok(other.measured > 0);
      const [mine, ...rest] = await kept();
      assert.deepEqual([mine.text, rest], [other.tuning, []]);
      assert.ok(text.split(" ").every((known) => mine.text.includes(known)), `${text}, then ${mine.text}`);
    });
  });

  describe("from what is kept", () => {
    let record;
    before(async () => {
      await load({});
      [record] = await kept();
    });
    beforeEach(() => keep(JSON.stringify({ known: [record] })));

    it("uses it, and answers as without", async () => {
      const [{ question, text }] = await goldens("tiny_r1_distill");
      // Not what SwiftShader's default is, and not much slower.
      const all = record.text.replace(/=\d+/g, "=8");
      await keep(JSON.stringify({ known: [{ ...record, text: all }] }));
      const slow = await load({ question });
      const off = await load({ question, tune: "off" });
      assert.deepEqual([slow.tuning, slow.measured, off.tuning], [all, 0, ""]);
      assert.deepEqual(slow.said, off.said);
      assert.ok(slow.said[0].length > 20 && text.startsWith(slow.said[0]));
    });

    for (const [what, spoil] of [
      ["a flipped bit", (bytes) => bytes.with(9, bytes[9] ^ 1)],
      ["half a file", (bytes) => bytes.slice(0, bytes.length / 2)],
      ["an empty file", () => []],
    ]) {
      it(`ignores and replaces ${what}`, async () => {
        const spoilt = spoil(await run(() => readFile()));
        await run((bytes) => writeFile(bytes), spoilt);
        const { measured, tuning } = await load({});
        assert.ok(measured > 0);
        const [{ text }, ...others] = await kept();
        assert.deepEqual([text, others], [tuning, []]);
      });
    }

    it("ignores numbers that no kernel takes, and what is another's", async () => {
      const { device, key } = record;
      const of = (text) => ({ device, key, text });
      for (const known of [
        [of("Q8_0/narrow=2 Q8_0/middle=0 Q8_0/wide=96 Q8_0/narrow=4096 __proto__ =")],
        [{ ...record, device: "another GPU" }, { ...record, key: `${key} ` }, { ...record, key: "__proto__" }],
        { length: 1e9 }, [of(7)],
      ]) {
        await keep(JSON.stringify({ known }));
        const { measured, tuning } = await load({});
        assert.ok(measured > 0, JSON.stringify(known));
        assert.match(tuning, /^(\w+\/(narrow|middle|wide)=(4|8|16|32|64|128) ?)+$/);
      }
    });

    it("keeps the newest 16", async () => {
      const old = Array.from({ length: 20 }, (_, i) => ({ ...record, key: `old ${i}` }));
      await keep(JSON.stringify({ known: old }));
      await load({});
      const known = await kept();
      assert.deepEqual(known.map(({ key }) => key), [record.key, ...old.slice(0, 15).map(({ key }) => key)]);
    });
  });

  it("is off by default where a CPU plays the GPU, and refuses what it does not know", async () => {
    await run(() => removeFile());
    for (const tune of [undefined, "auto", "off"]) {
      const { tuning, measured } = await load({ tune });
      assert.deepEqual([tuning, measured, await kept()], ["", 0, null]);
    }
    const error = await run((model) => thrown(() => tuned({ model, tune: "fast" })), TINY);
    assert.equal(error?.code, "invalid-request");
    assert.match(error.message, /`tune`/);
  });

  it("keeps nothing where nothing is stored", async () => {
    const { measured } = await load({ storage: "none" });
    assert.deepEqual([measured > 0, await kept()], [true, null]);
  });

  it("keeps it in the Cache API where there is no OPFS", async () => {
    const [first, second, text] = await run(async (model) => {
      const { getDirectory } = StorageManager.prototype;
      StorageManager.prototype.getDirectory = undefined;
      const loads = [await tuned({ model }), await tuned({ model })];
      StorageManager.prototype.getDirectory = getDirectory;
      const file = await (await caches.open("aloud-1")).match("/aloud-1/tunings");
      return [...loads, await file?.text()];
    }, TINY);
    assert.ok(first.measured > 0 && text?.includes(first.tuning.split(" ")[0]), text);
    assert.ok(second.measured < first.measured || second.tuning !== first.tuning);
  });

  it("ends when it is aborted, and leaves nothing on the GPU", async () => {
    const { error, seconds, held, devices } = await run(async (model) => {
      const memory = watchMemory();
      const abort = new AbortController();
      let begun = 0;
      const { createBuffer } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        if (descriptor.label?.startsWith("aloud.tune.weight")) (begun = performance.now()), abort.abort();
        return createBuffer.call(this, descriptor);
      };
      const error = await thrown(() => tuned({ model, storage: "none", signal: abort.signal }));
      const seconds = (performance.now() - begun) / 1000;
      GPUDevice.prototype.createBuffer = createBuffer;
      memory.stop();
      return { error, seconds, held: memory.held, devices: memory.devices() };
    }, TINY);
    assert.deepEqual([error?.code, held, devices], ["aborted", 0, 0]);
    assert.ok(seconds < 10, `${seconds} s`);
  });

  it("says so when the GPU is lost while it is measured", async () => {
    const error = await run(async (model) => {
      const { createBuffer } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (descriptor) {
        if (descriptor.label?.startsWith("aloud.tune.weight")) setTimeout(() => this.destroy(), 20);
        return createBuffer.call(this, descriptor);
      };
      const error = await thrown(() => tuned({ model, storage: "none" }));
      GPUDevice.prototype.createBuffer = createBuffer;
      return error;
    }, TINY);
    assert.equal(error?.code, "device-lost", error?.message);
  });

  it("measures nothing again for an answer that goes on on a new device", async () => {
    const { whole, lost, events, again } = await run(async (model) => {
      const { devices, stop } = recordDevices();
      const engine = await aloud.load({ model, contextLength: 512, worker: false, tune: "on", storage: "none", drafts: "off" });
      const messages = [{ role: "user", content: "What is 123 times 45?" }];
      const { reasoning, answer } = await collect(engine.chat(messages, { temperature: 0 }));
      measured.count = 0;
      let n = 0;
      const seen = [];
      for await (const event of engine.chat(messages, { temperature: 0 })) {
        seen.push(event);
        if (event.type === "reasoning" && ++n === 12) devices.at(-1).destroy();
      }
      const again = measured.count;
      await engine.dispose();
      stop();
      const text = (type) => seen.filter((e) => e.type === type).map((e) => e.text).join("");
      const events = seen.map((e) => e.type).filter((type) => type.startsWith("device"));
      return { whole: [reasoning, answer], lost: [text("reasoning"), text("answer")], events, again };
    }, TINY);
    assert.deepEqual(events, ["device-lost", "device-restored"]);
    assert.deepEqual([lost, again], [whole, 0]);
  });

  it("leaves no error on the page", () => assert.deepEqual(browser.problems, []));
});
