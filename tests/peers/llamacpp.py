"""One round of llama.cpp's Vulkan backend, from the package llama-cpp-python: prints one line of JSON.

    python llamacpp.py MODEL.gguf

A CPU that plays the GPU is left out by llama.cpp unless GGML_VK_VISIBLE_DEVICES=0 names it.
"""

import ctypes
import json
import os
import re
import sys
import time
from pathlib import Path

import llama_cpp as llama
import numpy as np

TASK = json.loads((Path(__file__).parent / "task.json").read_text())
QUESTION = (
    f"<|im_start|>system\n{TASK['system']}<|im_end|>\n"
    f"<|im_start|>user\n{TASK['question']}<|im_end|>\n<|im_start|>assistant\n"
)
LOGS = []


@llama.llama_log_callback
def log(_level, text, _user_data):
    LOGS.append(text.decode(errors="replace"))


class Engine:
    """A model on the GPU with one sequence."""

    def __init__(self, path: str):
        llama.llama_log_set(log, ctypes.c_void_p(0))
        llama.llama_backend_init()
        model_params = llama.llama_model_default_params()
        model_params.n_gpu_layers = 99
        self.model = llama.llama_model_load_from_file(path.encode(), model_params)
        assert self.model, "".join(LOGS[-20:])
        params = llama.llama_context_default_params()
        params.n_ctx = 512
        params.n_threads = params.n_threads_batch = os.cpu_count()
        self.context = llama.llama_init_from_model(self.model, params)
        assert self.context, "".join(LOGS[-20:])
        self.vocab = llama.llama_model_get_vocab(self.model)

    def device(self) -> str:
        """The GPU that all layers are on."""
        logs = "".join(LOGS)
        layers = re.search(r"offloaded (\d+)/(\d+) layers to GPU", logs)
        assert layers and layers[1] == layers[2], f"computed on the CPU, not by Vulkan:\n{logs[-2000:]}"
        return re.search(r"using device Vulkan0 \((.*?)\) \(", logs)[1]

    def forget(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def step(self, ids: list[int]) -> int:
        """Takes tokens into the cache and gives the likeliest next one."""
        held = (llama.llama_token * len(ids))(*ids)  # by a name, because the batch only points to it
        code = llama.llama_decode(self.context, llama.llama_batch_get_one(held, len(ids)))
        assert code == 0, f"llama_decode: {code}"
        scores = llama.llama_get_logits_ith(self.context, -1)
        return int(np.ctypeslib.as_array(scores, shape=(llama.llama_vocab_n_tokens(self.vocab),)).argmax())

    def tokens(self, text: str) -> list[int]:
        utf8 = text.encode()
        ids = (llama.llama_token * len(utf8))()
        return ids[: llama.llama_tokenize(self.vocab, utf8, len(utf8), ids, len(ids), False, True)]

    def text(self, ids: list[int]) -> str:
        piece = ctypes.create_string_buffer(256)
        lengths = ((llama.llama_token_to_piece(self.vocab, id, piece, len(piece), 0, False)) for id in ids)
        return b"".join(piece.raw[:length] for length in lengths).decode(errors="replace")


def main():
    engine = Engine(sys.argv[1])
    prompt = [(i * 7919 + 11) % 49000 + 20 for i in range(TASK["prompt_tokens"])]
    for ids in [prompt, [1], [1]]:  # to warm up
        engine.step(ids)
    engine.forget()
    begun = time.perf_counter()
    engine.step(prompt)
    prefill = len(prompt) / (time.perf_counter() - begun)
    engine.forget()
    question = engine.tokens(QUESTION)
    answer = [engine.step(question)]
    begun = time.perf_counter()
    for _ in range(TASK["answer_tokens"]):
        answer.append(engine.step(answer[-1:]))
    decode = TASK["answer_tokens"] / (time.perf_counter() - begun)
    figures = {"prompt_tokens": len(prompt), "cached_tokens": len(question), "prefill": prefill, "decode": decode}
    about = {"peer": "llama.cpp", "version": f"llama-cpp-python {llama.__version__}", "device": engine.device()}
    print(json.dumps(about | figures | {"text": engine.text(answer)}))


if __name__ == "__main__":
    main()
