/** The models that the page offers by itself. */
import type { Suggestion } from "../src/components/index.ts";
import type { ModelSource } from "../src/types.ts";

export interface Choice {
  name: string;
  model: ModelSource;
  /** One line on what it is. */
  about: string;
  /** Of its files; 0 where not known. */
  bytes: number;
  /** It knows no conversations: every question goes alone. */
  single: boolean;
  suggestions: readonly Suggestion[];
}

/** Wordings as tiny-r1 was trained on: `training/tiny_r1/tasks.py`. */
const PUZZLES: readonly Suggestion[] = [
  {
    title: "A stack of boxes",
    prompt:
      "A red box is on the bottom, a blue one on top of it, then a yellow box. " +
      "Swap the red and yellow boxes, then move the blue box to the top. Describe the stack.",
  },
  { title: "A long division", prompt: "What is 8174 divided by 6?" },
  { title: "A multiplication", prompt: "Multiply 347 by 28." },
];

const QUESTIONS: readonly Suggestion[] = [
  { title: "Count", prompt: "How many times does the letter r occur in the word strawberry?" },
  {
    title: "Work out",
    prompt: "A train leaves at 9:40 and arrives at 13:05. It stops for 18 minutes. How long does it move?",
  },
  { title: "Prove", prompt: "Prove that the square root of 2 is irrational." },
];

export const TINY: Choice = {
  name: "tiny-r1",
  model: new URL("models/tiny-r1/", document.baseURI).href,
  about: "7.3 million parameters with the architecture of DeepSeek-R1; knows boxes and sums",
  bytes: 7_900_000,
  single: true,
  suggestions: PUZZLES,
};

/** A distilled model as GGUF on Hugging Face. */
function distill(size: string, quant: string, bytes: number, about: string): Choice {
  const file = `DeepSeek-R1-Distill-${size}`;
  const model = `hf:bartowski/${file}-GGUF/${file}-${quant}.gguf`;
  return {
    name: `R1 Distill ${size.replace("-", " ")}`,
    model,
    about: `${about}, ${quant}`,
    bytes,
    single: false,
    suggestions: QUESTIONS,
  };
}

export const CHOICES: readonly Choice[] = [
  TINY,
  distill("Qwen-1.5B", "Q4_K_M", 1.12e9, "Fast, for sums and short riddles"),
  distill("Qwen-7B", "Q4_K_M", 4.68e9, "Good at mathematics"),
  distill("Llama-8B", "Q4_K_M", 4.92e9, "Good at words and code"),
  distill("Qwen-14B", "Q4_K_M", 8.99e9, "The best of these"),
];

/** A model that the user names: an address, `hf:org/repo/file.gguf`, or files from disk. Null: no such thing. */
export function ownChoice(model: string | File[]): Choice | null {
  const base = { about: "", single: false, suggestions: QUESTIONS };
  if (typeof model !== "string") {
    const files = [...model].sort((a, b) => a.name.localeCompare(b.name));
    const [first] = files;
    if (!first) return null;
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    return { ...base, name: first.name, model: files.length === 1 ? first : files, bytes };
  }
  const text = model.trim();
  const known = /^hf:[\w.-]+\/[\w.-]+/.test(text) || /^https:\/\/[^\s/]+\/\S/.test(text);
  return known ? { ...base, name: nameOf(text), model: text, bytes: 0 } : null;
}

/** The last part of an address that says something. */
export function nameOf(address: string): string {
  const parts = address.split(/[?#]/)[0]!.split("/").filter(Boolean);
  return (parts.at(-1) ?? address).replace(/\.gguf$/i, "");
}
