// Hostile answers, drawn in a real browser under the demo page's policy: whole, in random pieces, and in a chat.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { addChat, openComponents } from "./chat.mjs";
import { corpus } from "./xss-corpus.mjs";

/** Written out here on purpose, not taken from the code under test. */
const ELEMENTS = words(`
  p h3 h4 h5 h6 ul ol li blockquote figure figcaption pre code strong em del br hr div span table thead tbody tr th td a
  button math menclose merror mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt
  mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none`);
const ATTRIBUTES = words(`
  class start tabindex role aria-label scope href target rel type display displaystyle scriptlevel mathcolor
  mathbackground mathvariant notation linethickness fence form largeop lspace maxsize minsize movablelimits rspace
  separator stretchy symmetric accent accentunder depth height voffset width linebreak mathsize columnalign
  columnspacing rowspacing columnlines rowlines columnspan rowspan`);

function words(text) {
  return new Set(text.trim().split(/\s+/));
}

let components;
let page;

before(async () => {
  components = await openComponents();
  page = await components.open();
  page.on("dialog", (dialog) => page.problems.push(`dialog: ${dialog.message()}`));
  await page.evaluate(() => {
    globalThis.breaches = [];
    globalThis.requestAnimationFrame = (draw) => queueMicrotask(draw); // Pieces are drawn as fast as they come.
    globalThis.x = () => breaches.push("x() was called");
    document.addEventListener("securitypolicyviolation", (event) => breaches.push(`policy: ${event.blockedURI}`));
    globalThis.view = document.createElement("aloud-markdown");
    document.body.append(view);
  });
});
after(() => components?.close());

/**
 * Runs in the page: draws a text whole, then in random pieces, and gives what it became: the elements with their
 * attributes at the end of both, and every element that was there on the way.
 */
async function drawBoth({ text, seed }) {
  const view = globalThis.view;
  const root = view.shadowRoot.querySelector(".prose");
  const inventory = () =>
    [...root.querySelectorAll("*")].map((element) => ({
      tag: element.localName,
      attributes: Object.fromEntries([...element.attributes].map(({ name, value }) => [name, value])),
    }));
  const draw = async (part, live) => {
    Object.assign(view, { text: part, live });
    await view.updateComplete;
  };
  await draw("", false);
  await draw(text, false);
  const whole = { elements: inventory(), text: root.textContent };
  const way = new Map();
  let state = seed;
  const random = (limit) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % limit;
  await draw("", false);
  for (let end = 0; end < text.length; end += 1 + random(Math.max(4, text.length / 6))) {
    await draw(text.slice(0, end), true);
    for (const element of inventory()) way.set(JSON.stringify(element), element);
  }
  await draw(text, true);
  await draw(text, false);
  return { whole, way: [...way.values()], pieces: { elements: inventory(), text: root.textContent } };
}

function check(name, elements) {
  for (const { tag, attributes } of elements) {
    assert.ok(ELEMENTS.has(tag), `${name}: <${tag}>`);
    for (const [attribute, value] of Object.entries(attributes)) {
      assert.ok(ATTRIBUTES.has(attribute), `${name}: <${tag} ${attribute}="${value}">`);
      assert.doesNotMatch(value, /url\(|javascript:|expression/i, `${name}: <${tag} ${attribute}>`);
    }
    if (tag !== "a") continue;
    assert.match(attributes.href, /^https?:\/\/[^@]*$/, name);
    assert.equal(attributes.rel, "noopener noreferrer nofollow", name);
    assert.equal(attributes.target, "_blank", name);
  }
}

/** No script ran, nothing was asked of the network, and the policy had nothing to stop. */
async function noBreach() {
  await page.waitForTimeout(100);
  assert.deepEqual(await page.evaluate(() => globalThis.breaches), []);
  assert.deepEqual(page.requests, []);
  assert.deepEqual(page.problems, []);
}

test("texts become elements of the list alone, whole and in random pieces", async () => {
  assert.ok(corpus.length > 60, `${corpus.length}`);
  for (const [seed, { name, text }] of corpus.entries()) {
    const { whole, way, pieces } = await page.evaluate(drawBoth, { text, seed });
    check(name, whole.elements);
    check(`${name}, on the way`, way);
    assert.deepEqual(pieces, whole, `${name}: in pieces it ends otherwise`);
  }
  await noBreach();
});

test("a chat is as safe: question, thought, answer, errors and names", async () => {
  await addChat(page);
  await page.evaluate(
    async (texts) => {
      for (const text of texts) {
        Object.assign(chat, { name: text, placeholder: text, suggestions: [{ title: text, prompt: text }] });
        void chat.ask(text);
        while (!engine.calls.length) await new Promise((resolve) => setTimeout(resolve));
        engine.calls.length = 0;
        engine.think(text);
        engine.say(text);
        engine.fail("internal", text);
        while (chat.turns.at(-1).state !== "failed") await new Promise((resolve) => setTimeout(resolve));
        for (const turn of chat.shadowRoot.querySelectorAll("aloud-turn")) {
          await turn.updateComplete;
          turn.shadowRoot.querySelector("aloud-thought")?.setAttribute("open", "");
        }
        if (chat.turns.length > 3) await chat.clear();
      }
    },
    corpus.map(({ text }) => text),
  );
  const found = await page.evaluate(() => {
    const bad =
      "script, img, iframe, object, embed, video, audio, link, style, base, meta, form[action], [onerror], [onload]";
    const all = (root) => [
      ...root.querySelectorAll(bad),
      ...[...root.querySelectorAll("*")].flatMap((element) => (element.shadowRoot ? all(element.shadowRoot) : [])),
    ];
    return all(chat.shadowRoot).map((element) => element.outerHTML);
  });
  assert.deepEqual(found, []);
  await noBreach();
});

test("the policy of the page would stop what got through", async () => {
  const stopped = await page.evaluate(async () => {
    const image = new Image();
    const seen = new Promise((resolve) =>
      document.addEventListener("securitypolicyviolation", resolve, { once: true }),
    );
    image.src = "https://evil.test/p.png";
    const { violatedDirective } = await seen;
    let thrown = "";
    try {
      document.body.innerHTML = "<b>a</b>";
    } catch (error) {
      thrown = error.name;
    }
    return { violatedDirective, thrown };
  });
  assert.deepEqual(stopped, { violatedDirective: "img-src", thrown: "TypeError" });
});
