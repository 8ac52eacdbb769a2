/** Vercel's AI SDK over a model in this tab: thoughts and text as separate streams. */
import { streamText } from "ai";
import { load } from "aloud";
import { aiSdk } from "aloud/ai-sdk";

export async function ask(model: string, prompt: string) {
  const engine = await load({ model, contextLength: 1024 });
  const { fullStream, usage, finishReason } = streamText({ model: aiSdk(engine), prompt, temperature: 0 });
  const said = { reasoning: "", text: "", parts: [] as string[] };
  for await (const part of fullStream) {
    said.parts.push(part.type);
    if (part.type === "reasoning-delta") said.reasoning += part.text;
    if (part.type === "text-delta") said.text += part.text;
  }
  const ending = { usage: await usage, finishReason: await finishReason };
  await engine.dispose();
  return { ...said, ...ending };
}
