// The components as people use them: in a real browser, with an engine whose answers the test writes.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { addChat, openComponents } from "./chat.mjs";

const QUESTION = "Multiply 347 by 28.";
let components;
let page;

before(async () => {
  components = await openComponents();
});
after(() => components?.close());
afterEach(async () => {
  const { problems, requests } = page;
  assert.deepEqual(problems, []);
  assert.deepEqual(requests, []);
});

const PAGE = { viewport: { width: 1000, height: 700 } };
let shared;

/** A new chat; on the page that tests share, or with `options` on one of its own. */
async function chat(props, options) {
  if (options) {
    page = await components.open(options);
  } else {
    page = shared ??= await components.open(PAGE);
    await page.evaluate(() => document.querySelector("aloud-chat")?.remove());
    await page.bringToFront();
    await page.mouse.move(0, 0);
  }
  await addChat(page, props);
}

const engine = (call) => page.evaluate(`(() => { engine.${call} })()`);
const box = () => page.getByRole("textbox", { name: "Your question" });
const button = (name) => page.getByRole("button", { name });
const status = () => page.getByRole("status");
const turns = () => page.evaluate(() => chat.turns.map(({ question, answer, state }) => ({ question, answer, state })));
const asked = () => page.evaluate(() => engine.calls.map(({ messages }) => messages));
const focused = () =>
  page.evaluate(() => {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    return element?.getAttribute("aria-label") ?? element?.textContent?.trim() ?? "";
  });

async function ask(text = QUESTION) {
  await box().fill(text);
  await page.keyboard.press("Enter");
}

async function answer(text = QUESTION, thought = "347*8: 2776\n347*20: 6940", said = "9716.") {
  await ask(text);
  await page.evaluate(
    ([thought, said]) => {
      engine.think(thought);
      engine.say(said);
      engine.done();
    },
    [thought, said],
  );
  // The thought is drawn by an element of its own, a moment after the answer.
  await button("Regenerate").last().waitFor();
  await button(/^Thinking/).waitFor({ state: "detached" });
}

test("thought and answer are apart, with length, time and speed", async () => {
  await chat();
  await ask();
  await engine(`think("347*8: 2776")`);
  await page.getByText("2 tokens").waitFor();
  assert.equal(await button(/^Thinking/).getAttribute("aria-expanded"), "false");
  await page.getByText("347*8: 2776").waitFor(); // The last line is seen while it is folded.
  await engine(`say("It is **9716**."); engine.done(120, 40)`);
  const fold = button(/^Thought for 0\.\d s · 120 tokens$/);
  await fold.waitFor();
  assert.equal(await page.getByText("347*8").count(), 0);
  assert.equal(await page.locator("aloud-markdown strong").textContent(), "9716");
  await page.getByText("160 tokens · 21.3 tokens/s · first token after 0.4 s").waitFor();
  await fold.click();
  assert.equal(
    await page
      .getByRole("region", { name: "Thought" })
      .textContent()
      .then((text) => text.trim()),
    "347*8: 2776",
  );
});

test("the thought is not Markdown, and the answer is", async () => {
  await chat();
  await answer(QUESTION, "37*4: 7*4=28, *8", "# Result\n\n- a\n- `b`\n\n```js\n1 < 2\n```\n\n\\(x^2\\) and \\boxed{4}");
  await button(/^Thought/).click();
  await page.getByText("37*4: 7*4=28, *8", { exact: true }).waitFor();
  const view = page.locator("aloud-markdown");
  assert.equal(await view.getByRole("heading", { name: "Result" }).count(), 1);
  assert.equal(await view.getByRole("listitem").count(), 2);
  assert.equal(await view.locator("math").count(), 2);
  assert.equal(await view.locator("math .boxed").textContent(), "4");
  await view.getByRole("button", { name: "Copy code" }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "1 < 2");
});

test("everything goes by keyboard: ask, new line, stop, unfold, edit, cancel", async () => {
  await chat();
  await page.keyboard.press("Tab"); // The conversation, which scrolls.
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Your question");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  assert.equal(await box().inputValue(), "one\ntwo");
  await page.keyboard.press("Enter");
  assert.equal(await box().inputValue(), "");
  await engine(`think("a b")`);
  await button(/^Thinking/).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("Stopped before an answer.").waitFor();
  assert.equal(await focused(), "Your question");
  await page.keyboard.press("Shift+Tab"); // Regenerate
  await page.keyboard.press("Shift+Tab"); // The thought
  assert.match(await focused(), /^Thought/);
  await page.keyboard.press("Enter");
  assert.equal(await button(/^Thought/).getAttribute("aria-expanded"), "true");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "Edit the question");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "The question");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "Edit the question");
  assert.deepEqual((await asked()).length, 1);
});

test("Stop keeps what is written, and goes by its button", async () => {
  await chat();
  await ask();
  await engine(`say("It is 97")`);
  await page.getByText("It is 97").waitFor();
  await button("Stop").click();
  await page.getByText("Stopped here.").waitFor();
  assert.deepEqual(await turns(), [{ question: QUESTION, answer: "It is 97", state: "stopped" }]);
  assert.equal(await button("Send").count(), 1);
});

test("Answer now closes the thought, and the focus is not lost with the button", async () => {
  await chat();
  await ask();
  await engine(`think("so long")`);
  await button("Answer now").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => engine.answersNow), 1);
  await engine(`say("9716.")`);
  await page.waitForFunction(
    () => !chat.shadowRoot.querySelector("aloud-turn").shadowRoot.querySelector("aloud-thought[live]"),
  );
  await page.waitForFunction(() => document.activeElement === chat);
  assert.equal(await focused(), "Your question");
});

test("an edited turn drops the later ones; the model hears answers, not thoughts", async () => {
  await chat();
  await answer("first", "hm", "A.");
  await answer("second", "hm", "B.");
  assert.deepEqual((await asked())[1], [
    { role: "user", content: "first" },
    { role: "assistant", content: "A." },
    { role: "user", content: "second" },
  ]);
  await page.locator("aloud-turn").first().hover();
  await button("Edit the question").first().click();
  await page.getByText("What came after it is dropped.").waitFor();
  await page.getByRole("textbox", { name: "The question" }).fill("other");
  await button("Ask again").click();
  await page.waitForFunction(() => engine.calls.length === 3);
  assert.deepEqual((await asked())[2], [{ role: "user", content: "other" }]);
  assert.deepEqual(await turns(), [{ question: "other", answer: "", state: "waiting" }]);
  assert.equal(await focused(), "Your question");
});

test("Regenerate asks the same again, Copy takes the answer's source", async () => {
  await chat();
  await answer(QUESTION, "hm", "It is **9716**.");
  await button("Copy").click();
  await button("Copied").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "It is **9716**.");
  await button("Regenerate").click();
  await page.waitForFunction(() => engine.calls.length === 2);
  assert.deepEqual((await turns())[0], { question: QUESTION, answer: "", state: "waiting" });
});

test("with `single` every question goes alone", async () => {
  await chat({ single: true });
  await answer("first");
  await ask("second");
  await page.waitForFunction(() => engine.calls.length === 2);
  assert.deepEqual((await asked())[1], [{ role: "user", content: "second" }]);
});

test("an error shows its message and a retry, which asks again", async () => {
  await chat();
  await ask();
  await engine(`fail("out-of-memory", "the GPU had no room for 24 MB; choose a smaller model")`);
  await page.getByText("the GPU had no room for 24 MB; choose a smaller model").first().waitFor();
  await button("Try again").click();
  await page.waitForFunction(() => engine.calls.length === 2);
  await engine(`say("9716."); engine.done(0, 4)`);
  await page.getByText("9716.", { exact: true }).first().waitFor();
  assert.equal(await button("Try again").count(), 0);
});

test("an answer without an end is an error, a cut one says so", async () => {
  await chat();
  await ask();
  await engine(`say("9"); engine.push({ type: "end" })`);
  await page
    .getByText(/ended without its `done` event/)
    .first()
    .waitFor();
  await ask();
  await page.waitForFunction(() => engine.calls.length === 2);
  await engine(`say("97"); engine.done(0, 2, "length")`);
  await page.getByText("Cut off").waitFor();
});

test("a lost device is a quiet word, and the answer goes on", async () => {
  await chat();
  await ask();
  await engine(`say("It is"); engine.push({ type: "device-lost", reason: "unknown" })`);
  await page.getByText("The GPU went away").first().waitFor();
  assert.match(await status().textContent(), /The GPU went away/);
  await engine(`push({ type: "device-restored" })`);
  await page.getByText("The GPU is back.").first().waitFor();
  await engine(`say(" 9716."); engine.done(0, 5)`);
  await page.getByText("It is 9716.").first().waitFor();
  assert.equal(await page.locator("aloud-turn").getByText("The GPU is back.").count(), 0);
});

test("loading shows bytes, speed and time left, and a question waits for the engine", async () => {
  const progress = { phase: "download", loaded: 412e6, total: 1117e6, bytesPerSecond: 23.1e6 };
  await chat({ engine: null, name: "R1 Distill", progress });
  await page.getByText("412 MB of 1.12 GB · 23.1 MB/s · 31 s left").waitFor();
  const bar = page.getByRole("progressbar", { name: "Downloading: R1 Distill" });
  assert.equal(await bar.evaluate((element) => element.position.toFixed(2)), "0.37");
  await ask();
  await page.getByText("Waiting for the model").waitFor();
  await page.evaluate(() => (chat.engine = engine));
  await page.waitForFunction(() => engine.calls.length === 1);
  await bar.waitFor({ state: "detached" });
  assert.deepEqual((await asked())[0], [{ role: "user", content: QUESTION }]);
});

test("a model that did not load says why, and asks the page to try again", async () => {
  await chat({ engine: null });
  await page.evaluate(() => {
    globalThis.retries = 0;
    chat.addEventListener("aloud-retry", () => (retries += 1));
    chat.error = new AloudError("network", "huggingface.co was not reached; try again");
  });
  assert.match(await page.getByRole("alert").textContent(), /huggingface\.co was not reached/);
  await button("Try again").click();
  assert.equal(await page.evaluate(() => retries), 1);
});

test("a screen reader hears the answer by paragraphs, and of the thought that it is there", async () => {
  await chat();
  assert.equal(await status().getAttribute("aria-live"), "polite");
  await ask();
  await engine(`think("secret one two three")`);
  await page.waitForFunction(() => chat.turns[0].thoughtTokens === 4);
  assert.equal((await status().textContent()).trim(), "Thinking.");
  await engine(`say("First **part**.\\n\\nSecond")`);
  await page.waitForFunction(() => chat.turns[0].answer.endsWith("Second"));
  const heard = (await status().textContent()).replace(/\s+/g, " ").trim();
  assert.match(heard, /^Thinking\. ?Thought for 0\.\d s\. ?First part\.$/);
  await engine(`say(" \\\\(x^2\\\\)."); engine.done(4, 6)`);
  await page.waitForFunction(() => chat.turns[0].state === "done");
  await page.waitForFunction(() =>
    /Second x2\.$/.test(chat.shadowRoot.querySelector("[role=status]").textContent.trim()),
  );
  assert.doesNotMatch(await status().textContent(), /secret/);
  assert.equal(await page.getByRole("log", { name: "Conversation" }).getAttribute("aria-live"), "off");
});

test("names and roles are as a screen reader needs them", async () => {
  await chat({ suggestions: [{ title: "Sum", prompt: "2 + 2 = ?" }] });
  await answer();
  const tree = await page.locator("aloud-chat").ariaSnapshot();
  for (const part of [
    /- log "Conversation":/,
    /- article "Question and answer":/,
    /- heading "You asked" \[level=2\]/,
    /- button "Edit the question"/,
    /- button "Thought for .* 120 tokens"/,
    /- region "Answer":/,
    /- button "Copy"/,
    /- button "Regenerate"/,
    /- list "Examples":/,
    /- textbox "Your question"/,
    /- button "Send" \[disabled\]/,
    /- status:/,
  ]) {
    assert.match(tree, part);
  }
});

test("nothing scrolls sideways at 360 px, whatever the answer is", async () => {
  await chat({}, { viewport: { width: 360, height: 640 }, hasTouch: true });
  const long = "W".repeat(120);
  await answer(
    `${long} ${QUESTION}`,
    long,
    `${long}\n\n| ${"a | ".repeat(30)}\n|${"---|".repeat(30)}\n| ${"1 | ".repeat(30)}\n\n` +
      `\`\`\`\n${long}\n\`\`\`\n\n\\[ ${"a + ".repeat(60)} b \\]\n\n` +
      `\`${long}\` https://a.example/${long}\n\n1. ${long}`,
  );
  await button(/^Thought/).click();
  const wide = await page.evaluate(() => {
    const log = chat.shadowRoot.querySelector(".log");
    return [document.documentElement, log].map((element) => element.scrollWidth - element.clientWidth);
  });
  assert.deepEqual(wide, [0, 0]);
  for (const name of ["Send", "Copy", "Regenerate"]) {
    const { x, width, height } = await button(name).first().boundingBox();
    assert.ok(x >= 0 && x + width <= 360 && height >= 32, name);
  }
});

test("the view follows an answer until one scrolls up, and returns by a button", async () => {
  await chat({}, { viewport: { width: 500, height: 420 } });
  await ask();
  const paragraphs = (count) => engine(`say(${JSON.stringify("Some words of it.\n\n".repeat(count))})`);
  const left = () =>
    page.evaluate(() => {
      const log = chat.shadowRoot.querySelector(".log");
      return Math.round(log.scrollHeight - log.clientHeight - log.scrollTop);
    });
  await paragraphs(30);
  await page.waitForFunction(() => chat.shadowRoot.querySelector(".log").scrollTop > 300);
  await page.locator(".log").hover();
  await page.mouse.wheel(0, -300);
  await button("Latest").waitFor();
  await paragraphs(10);
  await page.waitForTimeout(150);
  assert.ok((await left()) > 250, "it stays where one reads");
  await button("Latest").click();
  await page.waitForTimeout(100);
  assert.ok((await left()) < 5);
  assert.equal(await button("Latest").count(), 0);
});

test("colours follow the system, the attribute and custom properties; motion ends where it is not wanted", async () => {
  await chat({}, { colorScheme: "dark", reducedMotion: "reduce" });
  const paper = () => page.evaluate(() => getComputedStyle(chat).backgroundColor);
  const dark = await paper();
  await page.evaluate(() => (chat.theme = "light"));
  const light = await paper();
  assert.notEqual(light, dark);
  await page.evaluate(() => chat.style.setProperty("--aloud-paper", "rgb(1, 2, 3)"));
  assert.equal(await paper(), "rgb(1, 2, 3)");
  await ask();
  await engine(`think("a")`);
  await button(/^Thinking/).waitFor();
  assert.equal(
    await page.locator("aloud-thought .title").evaluate((title) => getComputedStyle(title).animationName),
    "none",
  );
});

test("text has a contrast of 4.5, focus and borders of controls 3, in both schemes", async () => {
  for (const colorScheme of ["light", "dark"]) {
    await chat({}, { colorScheme });
    const ratios = await page.evaluate(() => {
      const probe = document.createElement("i");
      chat.shadowRoot.append(probe);
      const luminance = (token) => {
        probe.style.color = `var(--_${token})`;
        const [r, g, b] = getComputedStyle(probe)
          .color.match(/[\d.]+/g)
          .map((value) => {
            const c = value / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
      };
      const text = ["ink", "quiet", "accent", "danger"].flatMap((ink) =>
        ["paper", "raised", "tint"].map((on) => [ink, on, 4.5]),
      );
      const pairs = [...text, ["on-accent", "accent", 4.5], ["edge", "paper", 3], ["edge", "raised", 3]];
      return pairs.map(([a, b, least]) => ({ pair: `${a} on ${b}`, ratio: ratio(a, b), least }));
    });
    for (const { pair, ratio, least } of ratios)
      assert.ok(ratio >= least, `${colorScheme}: ${pair} ${ratio.toFixed(2)}`);
  }
});
