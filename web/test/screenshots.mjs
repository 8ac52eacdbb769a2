// Draws the demo page with a scripted engine, in every state, width and colour scheme:
// `node test/screenshots.mjs FOLDER`. Names in further arguments limit the states.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { launch } from "./browser.mjs";
import { bundlePage } from "./bundle.mjs";
import { serve } from "./server.mjs";

const [folder = "screenshots", ...only] = process.argv.slice(2);
const WIDTHS = { 360: 740, 768: 1024, 1440: 900 };

const THOUGHT = `start: red blue yellow
1 Swap the red and yellow boxes
2 take the blue box out and put it on top
1 swap red yellow: yellow blue red
2 blue to top: yellow red blue`;
const LONG_THOUGHT = `
Okay, so I need to find how long the train moves. It leaves at 9:40 and arrives at 13:05, with 18 minutes of stops.

From 9:40 to 12:40 is 3 hours, and from 12:40 to 13:05 is 25 minutes. So 3 hours 25 minutes, that is 205 minutes.

Wait, the stops are not moving. 205 - 18 = 187 minutes. Let me check: 187 = 3 * 60 + 7. So 3 hours and 7 minutes.`;
const ANSWER = `The train is under way from 9:40 to 13:05, which is **3 hours 25 minutes**, or

\\[ 3 \\cdot 60 + 25 = 205 \\text{ minutes} \\]

1. Of these it stands still for 18 minutes.
2. So it moves for \\( 205 - 18 = 187 \\) minutes.

| part | minutes |
|---|--:|
| under way | 205 |
| standing | 18 |

\`\`\`python
print(divmod(205 - 18, 60))  # (3, 7)
\`\`\`

\\[ \\boxed{3 \\text{ h } 7 \\text{ min}} \\]`;

const last = () => `script.loads.at(-1).engine`;
const run = (page, code) => page.evaluate(`(() => { ${code} })()`);
const ask = (page) => page.getByRole("button", { name: /stack of boxes/i }).click();
/** Picks a model, whose loading then waits for the script. */
async function choose(page) {
  await run(page, `script.instant = false`);
  await page.getByRole("button", { name: /^Model/ }).click();
  await page.getByRole("button", { name: /Use R1 Distill Qwen 1.5B/ }).click();
}

const STATES = {
  empty: async () => {},
  loading: async (page) => {
    await choose(page);
    await run(
      page,
      `const { onProgress } = script.loads.at(-1).options;
       onProgress({ phase: "download", loaded: 412e6, total: 1117e6, bytesPerSecond: 23.1e6 })`,
    );
  },
  thinking: async (page) => {
    await ask(page);
    await run(page, `${last()}.think(${JSON.stringify(LONG_THOUGHT.trim().slice(0, 240))})`);
    await page.waitForTimeout(1300);
  },
  open: async (page) => {
    await STATES.thinking(page);
    await page.getByRole("button", { name: /^Thinking/ }).click();
  },
  answered: async (page) => {
    await ask(page);
    const answer = "From bottom to top: yellow, red, blue.";
    await run(
      page,
      `${last()}.think(${JSON.stringify(THOUGHT)}); ${last()}.say(${JSON.stringify(answer)}); ${last()}.done(38, 14)`,
    );
  },
  long: async (page) => {
    for (let i = 0; i < 3; i++) {
      await page
        .getByRole("textbox")
        .fill(
          i === 1
            ? "And in hours?"
            : "A train leaves at 9:40 and arrives at 13:05. It stops for 18 minutes. How long does it move?",
        );
      await page.keyboard.press("Enter");
      await page.waitForTimeout(100);
      await run(
        page,
        `const e = ${last()}; e.think(${JSON.stringify(LONG_THOUGHT)});
         e.say(${JSON.stringify(ANSWER)}); e.done(717, 140)`,
      );
      await page.getByText("Regenerate").nth(i).waitFor();
    }
    await page
      .getByRole("button", { name: /^Thought/ })
      .last()
      .click();
  },
  error: async (page) => {
    await ask(page);
    await run(
      page,
      `${last()}.think("start: red");
       ${last()}.fail("out-of-memory", "the GPU had no room for 24 MB more; choose a smaller model")`,
    );
    await page.waitForTimeout(100);
  },
  failed: async (page) => {
    await choose(page);
    await run(
      page,
      `script.loads.at(-1).fail("huggingface.co was not reached: the network is down, or a filter blocks it")`,
    );
  },
  models: async (page) => {
    await page.getByRole("button", { name: /^Model/ }).click();
    await page.getByText("not complete").waitFor();
  },
  edit: async (page) => {
    await STATES.answered(page);
    await page.locator("aloud-turn").hover();
    await page.getByRole("button", { name: "Edit the question" }).click();
  },
};

await mkdir(folder, { recursive: true });
const server = await serve(await bundlePage("test/doubles/aloud.ts"));
const browser = await launch();
for (const [name, prepare] of Object.entries(STATES)) {
  if (only.length && !only.includes(name)) continue;
  for (const [width, height] of Object.entries(WIDTHS)) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await browser.newPage({ viewport: { width: Number(width), height }, colorScheme });
      page.on("console", (message) => message.type() === "error" && console.error(name, message.text()));
      page.on("pageerror", (error) => console.error(name, error));
      await page.goto(server.origin);
      await page.waitForFunction(() => globalThis.script?.loads.length);
      await prepare(page);
      await page.waitForTimeout(150);
      await page.screenshot({ path: path.join(folder, `${name}-${width}-${colorScheme}.png`) });
      await page.close();
    }
  }
}
await browser.close();
await server.close();
