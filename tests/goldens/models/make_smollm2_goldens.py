"""Makes the golden of SmolLM2: what transformers answers greedily on the dequantised weights, in f32.

    pip install torch transformers==5.23.0 gguf==0.19.0
    python make_smollm2_goldens.py ../../../assets/SmolLM2-135M-Instruct.Q4_1.gguf

`smollm2.json` has for each prompt its ids by the chat template, the 64 most likely ids one after the
other (going on after an end token), and for each of them by how much its logit is above the second's.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent
N_NEW = 64
PROMPTS = [
    "What is the capital of France?",
    "Write a short story about a lighthouse keeper who finds a letter.",
    "Explain why the sky is blue to a child.",
    "Write a Python function that reverses a string.",
    "List five uses of a paper clip.",
    "What is 17 + 25? Think step by step.",
    "Translate to French: The weather is nice today and we are going to the beach.",
    "Describe the water cycle in a few sentences.",
    "Give me a recipe for pancakes with quantities.",
    "Schreibe einen Satz über Katzen, dann: 你好，世界！ 😀 What language was that?",
]


@torch.no_grad()
def main():
    path = Path(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    rows = []
    for text in PROMPTS:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                               return_dict=True)["input_ids"]
        ids, cache = list(prompt), None
        for _ in range(N_NEW):
            new = ids if cache is None else ids[-1:]
            out = model(torch.tensor([new]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            ids.append(int(out.logits[0, -1].argmax()))
        # Once more in one piece: the ids must not hang on how the prompt was cut.
        logits = model(torch.tensor([ids[:-1]])).logits[0, len(prompt) - 1:]
        assert logits.argmax(-1).tolist() == ids[len(prompt):], text
        top = logits.topk(2).values
        gaps = [round(float(g), 4) for g in top[:, 0] - top[:, 1]]
        rows.append({"text": text, "prompt": prompt, "ids": ids[len(prompt):], "gaps": gaps})
        print(repr(tokenizer.decode(ids[len(prompt):])), min(gaps), file=sys.stderr)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "smollm2.json").write_text(f"[\n{lines}\n]\n")


main()
