// The package as a page uses it, with the models in models/: in a worker and in the page's thread.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { openPackage } from "./browser.mjs";
import { composingTokenizer, goldens, modelRoutes } from "./models.mjs";
import { byRanges } from "./server.mjs";
import { until } from "./wait.mjs";

const N_QUESTIONS = { "tiny-r1/": 10, "tiny-r1-distill.gguf": 3 };
const QUESTION = [{ role: "user", content: "What is 123 times 45?" }];

describe("the package", { timeout: 900_000 }, () => {
  let browser;
  /** Runs in the page with `aloud` and `engine`, the student in a worker. */
  const run = (...args) => browser.run(...args);
  before(async () => {
    const routes = await modelRoutes();
    const composed = Object.entries(routes).filter(([path]) => path.startsWith("/models/tiny-r1/"));
    browser = await openPackage({
      ...routes,
      // tiny-r1 with a tokenizer that composes letters and accents.
      ...Object.fromEntries(composed.map(([path, route]) => [path.replace("/models/tiny-r1/", "/composed/"), route])),
      "/composed/tokenizer.json": byRanges(await composingTokenizer()),
    });
    await run(async () => {
      Object.assign(globalThis, await import("/test/in-page.mjs"));
      globalThis.engine = await aloud.load({ model: "/models/tiny-r1-distill.gguf", contextLength: 1024 });
    });
  });
  after(() => browser?.close());

  describe("answers as transformers does", () => {
    for (const [file, golden, worker] of [
      ["tiny-r1/", "tiny_r1", true],
      ["tiny-r1-distill.gguf", "tiny_r1_distill", false],
    ]) {
      it(`${file} ${worker ? "in a worker" : "in the page's thread"}`, async (t) => {
        await run(async ([url, worker]) => {
          globalThis.asked = await aloud.load({ model: url, worker, contextLength: 1024, drafts: "off" });
        }, [`/models/${file}`, worker]);
        const lines = (await goldens(golden)).slice(0, N_QUESTIONS[file]);
        assert.equal(lines.length, N_QUESTIONS[file]);
        for (const { question, prompt_ids, ids, text } of lines) {
          const { reasoning, answer, done } = await run(async (content) => {
            const { all, ...rest } = await collect(asked.chat([{ role: "user", content }], { temperature: 0 }));
            return rest;
          }, question);
          await t.test(`${question} (${done.timings.decode_tokens_per_second.toFixed(1)} tokens/s)`, () => {
            const [thought, said = ""] = text.replace("<｜end▁of▁sentence｜>", "").split("</think>");
            assert.equal(reasoning, thought);
            assert.equal(answer, said.replace(/^\n{1,2}/, ""));
            assert.equal(done.finish_reason, "stop");
            assert.deepEqual([done.usage.prompt_tokens, done.usage.completion_tokens], [prompt_ids.length, ids.length]);
          });
        }
        await run(() => asked.dispose());
      });
    }
  });

  it("reads letters with combining accents as a tokenizer with NFC wants them", async () => {
    const counts = await run(async () => {
      const counts = [];
      for (const url of ["/models/tiny-r1/", "/composed/"]) {
        const engine = await aloud.load({ model: url, worker: false, contextLength: 512, drafts: "off" });
        for (const content of ["Caf\u00e9", "Cafe\u0301"]) {
          const { done } = await collect(engine.chat([{ role: "user", content }], { max_tokens: 1 }));
          counts.push(done.usage.prompt_tokens);
        }
        await engine.dispose();
      }
      return counts;
    });
    const [composed, decomposed, ...normalised] = counts;
    assert.notEqual(decomposed, composed);
    assert.deepEqual(normalised, [composed, composed]);
  });

  it("asks the browser to keep what it stores, and not where it stores nothing", async () => {
    const asked = await run(async () => {
      const { persist } = StorageManager.prototype;
      let asked = 0;
      StorageManager.prototype.persist = function () {
        asked++;
        return persist.call(this);
      };
      const counts = [];
      for (const storage of ["none", "auto"]) {
        await (await aloud.load({ model: "/models/tiny-r1-distill.gguf", storage, contextLength: 256 })).dispose();
        counts.push(asked);
      }
      StorageManager.prototype.persist = persist;
      return counts;
    });
    assert.deepEqual(asked, [0, 1]);
  });

  it("says what it loaded", async () => {
    const info = await run(() => engine.model);
    assert.equal(info.name, "tiny-r1-distill.gguf");
    assert.equal(info.architecture, "Qwen2ForCausalLM");
    assert.equal(info.quantization, "Q8_0");
    assert.equal(info.contextLength, 1024);
    assert.ok(info.parameters > 2e6 && info.gpuBytes > 2e6 && info.adapter !== "");
    assert.ok(info.wasmBytes > 1e6 && info.wasmBytes <= 64 * 2 ** 20, `${info.wasmBytes} bytes of wasm memory`);
  });

  it("tells events in order: the prompt, the thought, the answer, the end", async () => {
    const { all, done } = await run((q) => collect(engine.chat(q, { temperature: 0 })), QUESTION);
    const kinds = all.map((e) => e.type).filter((type, i, types) => type !== types[i - 1]);
    assert.deepEqual(kinds, ["prefill", "reasoning", "answer", "done"]);
    const { usage } = done;
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    const thought = usage.completion_tokens_details.reasoning_tokens;
    assert.ok(thought > 20 && thought < usage.completion_tokens, `${thought} of ${usage.completion_tokens}`);
  });

  describe("speaks OpenAI's shape", () => {
    it("as a whole and in chunks, with reasoning_content", async () => {
      const { whole, chunks } = await run(async (messages) => {
        const request = { messages, temperature: 0, model: "any" };
        const whole = await engine.chat.completions.create(request);
        const chunks = [];
        const options = { stream: true, stream_options: { include_usage: true } };
        for await (const chunk of await engine.chat.completions.create({ ...request, ...options })) chunks.push(chunk);
        return { whole, chunks };
      }, QUESTION);
      assert.equal(whole.object, "chat.completion");
      const [{ message, finish_reason }] = whole.choices;
      assert.equal(finish_reason, "stop");
      assert.ok(message.content.length > 0 && message.reasoning_content.length > 20);
      const deltas = chunks.flatMap((c) => c.choices.map((choice) => choice.delta));
      assert.equal(deltas[0].role, "assistant");
      assert.equal(deltas.map((d) => d.content ?? "").join(""), message.content);
      assert.equal(deltas.map((d) => d.reasoning_content ?? "").join(""), message.reasoning_content);
      assert.deepEqual(chunks.at(-2).choices[0].finish_reason, "stop");
      assert.deepEqual(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
      assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
    });

    it("and every parameter reaches the engine", async () => {
      const said = await run(async (messages) => {
        const ask = async (more) => {
          const { choices: [{ message }] } = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 30, seed: 7, ...more });
          return message.reasoning_content;
        };
        const hot = { temperature: 3 };
        return {
          greedy: await ask({}), hot: await ask(hot), top_k: await ask({ ...hot, top_k: 1 }), min_p: await ask({ ...hot, min_p: 1 }),
          top_p: await ask({ ...hot, top_p: 1e-6 }), repetition: await ask({ repetition_penalty: 8 }),
          presence: await ask({ presence_penalty: 30 }), frequency: await ask({ frequency_penalty: 30 }),
        };
      }, QUESTION);
      const { greedy, hot, top_k, min_p, top_p, ...penalised } = said;
      assert.notEqual(hot, greedy);
      assert.deepEqual({ top_k, min_p, top_p }, { top_k: greedy, min_p: greedy, top_p: greedy });
      for (const [name, text] of Object.entries(penalised)) assert.notEqual(text, greedy, name);
    });

    it("and chunks tell how likely their tokens were", async () => {
      const { told, text } = await run(async (messages) => {
        const told = [];
        let text = "";
        const request = { messages, temperature: 0, max_tokens: 12, stream: true, logprobs: true, top_logprobs: 2 };
        for await (const { choices: [choice] } of await engine.chat.completions.create(request)) {
          told.push(...(choice?.logprobs?.reasoning_content ?? []), ...(choice?.logprobs?.content ?? []));
          text += choice?.delta.reasoning_content ?? "";
        }
        return { told, text };
      }, QUESTION);
      assert.equal(told.length, 12);
      assert.ok(told.map(({ token }) => token).join("").startsWith(text) && text.length > 5, text);
      assert.ok(told.every(({ logprob, top_logprobs }) => logprob <= 0 && top_logprobs.length === 2));
    });

    it("and refuses what it does not know, by name", async () => {
      const refused = await run(async (messages) => {
        const all = {};
        for (const [name, value] of [
          ["tools", []], ["n", 2], ["temperature", -1], ["top_p", 0], ["stop", ["a", "b", "c", "d", "e"]],
          ["reasoning", { depth: 3 }], ["max_tokens", 1.5], ["top_logprobs", 3], ["seed", -1], ["logit_bias", {}],
        ]) {
          all[name] = await thrown(() => engine.chat.completions.create({ messages, [name]: value }));
        }
        all.messages = await thrown(() => engine.chat.completions.create({ messages: [{ role: "tool", content: "" }] }));
        all.load = await thrown(() => aloud.load({ model: "/models/tiny-r1-distill.gguf", gpu: true }));
        return all;
      }, QUESTION);
      const codes = Object.fromEntries(Object.entries(refused).map(([name, e]) => [name, e?.code]));
      const invalid = "invalid-request";
      assert.deepEqual(codes, {
        tools: "unknown-parameter", n: invalid, temperature: invalid, top_p: invalid, stop: invalid,
        reasoning: "unknown-parameter", max_tokens: invalid, top_logprobs: invalid, seed: invalid,
        logit_bias: "unknown-parameter", messages: invalid, load: "unknown-parameter",
      });
      assert.match(refused.tools.message, /`tools`/);
      assert.match(refused.reasoning.message, /`reasoning\.depth`/);
      assert.ok(Object.values(refused).every((e) => e.name === "AloudError"));
    });
  });

  it("draws the same with the same seed", async () => {
    const [a, b, c] = await run(async (messages) => {
      const ask = async (seed) => {
        const { choices: [{ message }] } = await engine.chat.completions.create({ messages, temperature: 2, seed, max_tokens: 40 });
        return `${message.reasoning_content}|${message.content}`;
      };
      return [await ask(1), await ask(1), await ask(2)];
    }, QUESTION);
    assert.equal(a, b);
    assert.notEqual(a, c);
  });

  it("tells how likely its tokens were", async () => {
    const { choices } = await run(
      (messages) => engine.chat.completions.create({ messages, temperature: 0, max_tokens: 12, logprobs: true, top_logprobs: 3 }),
      QUESTION,
    );
    const [{ logprobs, message }] = choices;
    const told = [...logprobs.reasoning_content, ...logprobs.content];
    assert.equal(told.length, 12);
    assert.ok(told.map((t) => t.token).join("").startsWith(message.reasoning_content));
    for (const { token, logprob, bytes, top_logprobs } of told) {
      assert.ok(logprob <= 0 && top_logprobs.length === 3);
      assert.equal(top_logprobs[0].token, token, "greedy takes the likeliest");
      assert.equal(new TextDecoder().decode(new Uint8Array(bytes)), token);
    }
  });

  it("ends at a stop text and at max_tokens", async () => {
    const [stopped, cut] = await run(async (messages) => {
      const create = (more) => engine.chat.completions.create({ messages, temperature: 0, ...more });
      return [await create({ stop: "." }), await create({ max_tokens: 7 })];
    }, QUESTION);
    assert.deepEqual([stopped.choices[0].finish_reason, cut.choices[0].finish_reason], ["stop", "length"]);
    assert.ok(!stopped.choices[0].message.content.includes("."));
    assert.equal(cut.usage.completion_tokens, 7);
  });

  describe("thinks as it is told", () => {
    const reasoning = (options) =>
      run(async ([messages, reasoning]) => {
        const { usage, choices: [{ message }] } = await engine.chat.completions.create({ messages, temperature: 0, reasoning });
        return { ...message, tokens: usage.completion_tokens_details.reasoning_tokens };
      }, [QUESTION, options]);

    it("within a budget", async () => {
      const { tokens, content } = await reasoning({ budget_tokens: 10 });
      assert.ok(tokens <= 12, `${tokens} tokens`);
      assert.ok(content.length > 0);
    });
    it("not at all", async () => {
      const { reasoning_content, content, tokens } = await reasoning({ effort: "none" });
      assert.equal(reasoning_content, undefined);
      assert.ok(content.length > 0);
      assert.equal(tokens, 0);
    });
    it("hidden, and counted all the same", async () => {
      const { reasoning_content, tokens } = await reasoning({ hide: true });
      assert.equal(reasoning_content, undefined);
      assert.ok(tokens > 20);
    });
    it("until it is told to answer now", async () => {
      const { reasoning, answer, free } = await run(async (messages) => {
        const free = await collect(engine.chat(messages, { temperature: 0 }));
        let [n, reasoning, answer] = [0, "", ""];
        for await (const event of engine.chat(messages, { temperature: 0 })) {
          if (event.type === "reasoning" && ++n === 5) engine.answerNow();
          if (event.type === "reasoning") reasoning += event.text;
          if (event.type === "answer") answer += event.text;
        }
        return { reasoning, answer, free: free.reasoning };
      }, QUESTION);
      assert.ok(reasoning.length < free.length / 2, `${reasoning.length} of ${free.length}`);
      assert.ok(free.startsWith(reasoning.trimEnd()));
      assert.ok(answer.length > 0);
    });
  });

  it("keeps the beginning of a conversation in its cache, without thoughts of earlier turns", async () => {
    const { first, second } = await run(async (messages) => {
      const first = await engine.chat.completions.create({ messages, temperature: 0 });
      const next = [...messages, first.choices[0].message, { role: "user", content: "What is 7 + 5?" }];
      return { first, second: await engine.chat.completions.create({ messages: next, temperature: 0 }) };
    }, QUESTION);
    const { prompt_tokens, prompt_tokens_details } = second.usage;
    assert.ok(prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 2, JSON.stringify(second.usage));
    const thought = first.usage.completion_tokens_details.reasoning_tokens;
    assert.ok(prompt_tokens < first.usage.total_tokens - thought + 30, `${prompt_tokens} tokens`);
  });

  it("ends when it is aborted, and answers again", async () => {
    const { error, n, before, again } = await run(async (messages) => {
      const abort = new AbortController();
      let n = 0;
      const error = await thrown(async () => {
        for await (const _ of engine.chat(messages, { signal: abort.signal })) if (++n === 4) abort.abort();
      });
      const before = await thrown(() => collect(engine.chat(messages, { signal: AbortSignal.abort() })));
      for await (const event of engine.chat(messages)) if (event.type === "reasoning") break; // leaves early
      return { error, n, before, again: (await collect(engine.chat(messages, { temperature: 0 }))).answer };
    }, QUESTION);
    assert.equal(error.code, "aborted");
    assert.ok(n < 20, `${n} events`);
    assert.equal(before.code, "aborted");
    assert.ok(again.length > 0);
  });

  it("refuses a second answer at once, a prompt that is too long, and everything after dispose", async () => {
    const codes = await run(async (messages) => {
      const first = engine.chat(messages, { max_tokens: 5 });
      const busy = await thrown(() => collect(engine.chat(messages)));
      await collect(first);
      const long = await thrown(() => collect(engine.chat([{ role: "user", content: "17 + 25 ".repeat(600) }])));
      await engine.dispose();
      await engine.dispose();
      const late = await thrown(() => collect(engine.chat(messages)));
      return [busy, long, late].map((e) => e?.code);
    }, QUESTION);
    assert.deepEqual(codes, ["busy", "context-length", "disposed"]);
  });

  it("loads two models at once, in a worker and in the page's thread, and both answer the same", async () => {
    const answers = await run(async (messages) => {
      const load = (worker) => aloud.load({ model: "/models/tiny-r1-distill.gguf", worker, contextLength: 512 });
      const engines = await Promise.all([load(true), load(false), load(false)]);
      const ask = async (engine) => (await collect(engine.chat(messages, { temperature: 0, max_tokens: 12 }))).reasoning;
      const answers = await Promise.all(engines.map(ask));
      await Promise.all(engines.map((engine) => engine.dispose()));
      return answers;
    }, QUESTION);
    assert.ok(answers[0].length > 10);
    assert.deepEqual(answers.slice(1), [answers[0], answers[0]]);
  });

  describe("in the page's thread", () => {
    it("says that the GPU has no room, gives back what it took, and loads when there is room again", async () => {
      const { error, left, answer } = await run(async (messages) => {
        const { createBuffer, destroy } = GPUDevice.prototype;
        const open = new Set();
        let n = 0;
        GPUDevice.prototype.createBuffer = function (descriptor) {
          open.add(this);
          // As a browser says it when the driver has nothing left.
          if (++n === 20) {
            const error = new GPUOutOfMemoryError("no memory");
            this.dispatchEvent(new GPUUncapturedErrorEvent("uncapturederror", { error, cancelable: true }));
          }
          return createBuffer.call(this, descriptor);
        };
        GPUDevice.prototype.destroy = function () {
          open.delete(this);
          return destroy.call(this);
        };
        const load = () => aloud.load({ model: "/models/tiny-r1-distill.gguf", worker: false, contextLength: 512 });
        const error = await thrown(load);
        const left = open.size;
        const engine = await load();
        const { answer } = await collect(engine.chat(messages, { temperature: 0 }));
        await engine.dispose();
        Object.assign(GPUDevice.prototype, { createBuffer, destroy });
        return { error, left, answer };
      }, QUESTION);
      assert.equal(error?.code, "out-of-memory");
      assert.equal(left, 0);
      assert.ok(answer.length > 0);
    });

    it("gives up a GPU that hangs and goes on with the same answer on a new device; an abort does not wait for it", async () => {
      const { whole, hung, events, aborted, again } = await run(async (messages) => {
        const load = (more) => aloud.load({ model: "/models/tiny-r1-distill.gguf", worker: false, contextLength: 512, ...more });
        const { devices, stop } = recordDevices();
        const engine = await load({ gpuTimeout: 4000 });
        const whole = await collect(engine.chat(messages, { temperature: 0 }));
        // What the GPU was asked for is never done, until its device is destroyed.
        const { mapAsync } = GPUBuffer.prototype;
        let hangs = false;
        GPUBuffer.prototype.mapAsync = function (...args) {
          if (!hangs) return mapAsync.apply(this, args);
          return devices.at(-1).lost.then(() => {
            hangs = false;
            throw new DOMException("the device is lost", "AbortError");
          });
        };
        let n = 0;
        const seen = [];
        for await (const event of engine.chat(messages, { temperature: 0 })) {
          seen.push(event);
          if (event.type === "reasoning" && ++n === 12) hangs = true;
        }
        const abort = new AbortController();
        const begun = performance.now();
        n = 0;
        const aborted = await thrown(async () => {
          for await (const event of engine.chat(messages, { signal: abort.signal })) {
            if (event.type !== "reasoning" || ++n !== 4) continue;
            hangs = true;
            setTimeout(() => abort.abort(), 100);
          }
        });
        aborted.seconds = (performance.now() - begun) / 1000;
        const again = await collect(engine.chat(messages, { temperature: 0 }));
        await engine.dispose();
        GPUBuffer.prototype.mapAsync = mapAsync;
        stop();
        const text = (type) => seen.filter((e) => e.type === type).map((e) => e.text).join("");
        return {
          whole: [whole.reasoning, whole.answer], hung: [text("reasoning"), text("answer")], aborted,
          events: seen.map((e) => e.type).filter((t) => t.startsWith("device")), again: [again.reasoning, again.answer],
        };
      }, QUESTION);
      assert.deepEqual(events, ["device-lost", "device-restored"]);
      assert.deepEqual([hung, again], [whole, whole]);
      assert.equal(aborted.code, "aborted");
      assert.ok(aborted.seconds < 60, `${aborted.seconds} s`);
    });

    it("goes on with the same answer on a new device when the GPU is lost, without the network", async () => {
      const { whole, lost, events, fetched } = await run(async (messages) => {
        const { devices, stop } = recordDevices();
        const engine = await aloud.load({ model: "/models/tiny-r1-distill.gguf", worker: false, contextLength: 512 });
        const whole = await collect(engine.chat(messages, { temperature: 0 }));
        let n = 0;
        const seen = [];
        // But for the one byte that tells whether the file is still the same.
        const { fetch } = globalThis;
        const fetched = [];
        globalThis.fetch = (url, options) => {
          if (options?.headers?.range !== "bytes=0-0") fetched.push(String(url));
          return fetch(url, options);
        };
        for await (const event of engine.chat(messages, { temperature: 0 })) {
          seen.push(event);
          if (event.type === "reasoning" && ++n === 12) devices.at(-1).destroy();
        }
        globalThis.fetch = fetch;
        await engine.dispose();
        stop();
        const text = (type) => seen.filter((e) => e.type === type).map((e) => e.text).join("");
        const usage = (all) => all.find((e) => e.type === "done").usage.completion_tokens;
        return {
          whole: [whole.reasoning, whole.answer, usage(whole.all)],
          lost: [text("reasoning"), text("answer"), usage(seen)],
          events: seen.map((e) => e.type).filter((t) => t.startsWith("device")),
          fetched,
        };
      }, QUESTION);
      assert.deepEqual(events, ["device-lost", "device-restored"]);
      assert.deepEqual(lost, whole);
      assert.deepEqual(fetched, [], "the weights come out of the browser's storage");
    });

    it("gives back all of the GPU's memory, however often it is loaded", async () => {
      const { held, most, devices } = await run(async (messages) => {
        const memory = watchMemory();
        for (let i = 0; i < 5; i++) {
          const engine = await aloud.load({ model: "/models/tiny-r1-distill.gguf", worker: i === 4, contextLength: 512 });
          await collect(engine.chat(messages, { max_tokens: 4 }));
          await engine.dispose();
        }
        memory.stop();
        return { held: memory.held, most: memory.most, devices: memory.devices() };
      }, QUESTION);
      assert.deepEqual([held, devices], [0, 0]);
      assert.ok(most > 2e6 && most < 60e6, `${most} bytes at most`);
      await until(() => browser.page.workers().length === 0, "the end of workers");
    });

    it("keeps nothing of the tokens that it told", async () => {
      const cdp = await browser.page.context().newCDPSession(browser.page);
      const heap = async () => {
        await cdp.send("HeapProfiler.collectGarbage");
        return (await cdp.send("Runtime.getHeapUsage")).usedSize;
      };
      await run(async () => {
        globalThis.kept = await aloud.load({ model: "/models/tiny-r1-distill.gguf", worker: false, contextLength: 1024, drafts: "off" });
      });
      const answer = (max_tokens) =>
        run(async ([messages, max_tokens]) => {
          let tokens = 0;
          for (let seed = 1; tokens < max_tokens; seed++) {
            const options = { temperature: 1.5, seed, max_tokens: max_tokens - tokens };
            for await (const event of kept.chat(messages, options)) if (event.type === "done") tokens += event.usage.completion_tokens;
          }
        }, [QUESTION, max_tokens]);
      await answer(200); // What is made once is made.
      const before = await heap();
      await answer(20);
      const short = (await heap()) - before;
      await answer(800);
      const long = (await heap()) - before - short;
      await run(() => kept.dispose());
      console.log(`# heap: ${short} bytes more after 20 tokens, ${long} after 800`);
      assert.ok(long < 800 * 24, `${long} bytes more after 800 tokens, ${short} after 20`);
    });
  });

  it("leaves no error on the page", () => assert.deepEqual(browser.problems, []));
});
