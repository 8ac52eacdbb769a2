"""Our networks, their exports and their samplers against `transformers`, on small random models."""

import pytest
import torch

from tiny_r1 import experts, export, model, reference, sampler, student, tokens

PROMPT = "What is 12 + 7?"


@pytest.fixture(scope="module", autouse=True)
def eager():
    experts.COMPILE = False
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def text():
    return tokens.Text(tokens.learn_from_tasks(500))


def small(text):
    torch.manual_seed(1)
    network = model.Model(model.config(text.vocab, num_hidden_layers=3))
    for moe in network.mixtures():
        moe.gate.e_score_correction_bias.uniform_(-0.1, 0.1)
    network.head.data.mul_(20)
    return network


def test_exported_teacher_is_the_model_that_transformers_runs(tmp_path, text):
    network = small(text)
    export.teacher(tmp_path, network, text)
    reference_model = reference.teacher(tmp_path)
    copy = sampler.frozen(network, torch.float32)
    copy.embed_tokens.weight.data = copy.embed_tokens.weight.to(torch.bfloat16).float()
    ids = torch.tensor([text.encode(text.prompt(PROMPT))])
    with torch.no_grad(), sampler.precision("f32"):
        ours = copy.logits(copy.hidden(ids))
        theirs = reference_model(ids).logits
    assert (ours - theirs).norm() / theirs.norm() < 1e-5
    written = sampler.Sampler(copy, text.eos, torch.float32).complete([ids[0].tolist()] * 2, 20)
    assert written[0] == reference.greedy(reference_model, ids[0].tolist(), 20, text.eos)
    assert written[1] == written[0]


def test_exported_student_is_the_model_that_transformers_runs(tmp_path, text):
    torch.manual_seed(2)
    network = student.Student(student.config(text.vocab, num_hidden_layers=2))
    network.head.data.mul_(20)
    for layer in network.layers:
        layer.self_attn.q_proj.bias.data.uniform_(-0.5, 0.5)
    export.student(tmp_path / "s.gguf", network, text)
    prompt = text.encode(text.prompt(PROMPT))
    theirs = reference.distilled(tmp_path / "s.gguf", network)
    # The same rounded weights on both sides.
    state = {"head" if n == "lm_head.weight" else n.removeprefix("model."): v for n, v in theirs.state_dict().items()}
    network.load_state_dict(state, strict=False)
    copy = sampler.frozen(network, torch.float32, quantized=False)
    copy.head.data = network.head.data
    with torch.no_grad(), sampler.precision("f32"):
        ours = copy.logits(copy.hidden(torch.tensor([prompt])))
        assert (ours - theirs(torch.tensor([prompt])).logits).norm() / ours.norm() < 1e-5
    written = sampler.Sampler(copy, text.eos, torch.float32).complete([prompt], 20)[0]
    assert written == reference.greedy(theirs, prompt, 20, text.eos)


def test_prompts_of_different_lengths_do_not_disturb_each_other(text):
    copy = sampler.frozen(small(text), torch.float32)
    prompts = [text.encode(text.prompt(q)) for q in (PROMPT, "hello", "Multiply 123 by 45, and then divide by 9.")]
    together = sampler.Sampler(copy, text.eos, torch.float32).complete(prompts, 12)
    for prompt, ids in zip(prompts, together):
        assert sampler.Sampler(copy, text.eos, torch.float32).complete([prompt], 12)[0] == ids
