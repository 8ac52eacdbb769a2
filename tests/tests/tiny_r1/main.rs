//! tiny-r1 and its distill, the models in `models/`, against `transformers` on held-out questions.

mod golden;

use aloud::{ChatEvent, ChatOptions, Choice, Drafts, Ending, LoadOptions, Message, Model, RenderOptions, Role};
use aloud_engine::EngineOptions;
use aloud_tests::places::{Place, fastest_gpu, gpus};
use golden::{Golden, files, goldens, read, request};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Questions asked on every adapter and of the oracle: one of each kind.
const N_EVERYWHERE: usize = 5;
/// Questions asked with and without drafts.
const N_DRAFTED: usize = 20;
/// Share of first drafts that are right.
const ACCEPTANCE: f64 = 0.6;
/// Questions asked with a thought that is closed at once.
const N_SUPPRESSED: usize = 10;

/// What a user gets who asks for nothing: an f16 cache.
fn options() -> EngineOptions {
    EngineOptions { n_ctx: 1024, ..EngineOptions::default() }
}

/// What a model answers to each question, with as many tokens at most as `transformers`. Two engines share the work: drivers
/// for the CPU use little more than one of its cores.
fn answers(name: &str, place: &Place, options: &EngineOptions, goldens: &[Golden]) -> Vec<Vec<u32>> {
    let (header, stored) = read(name);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut engine = place.engine(&stored, options.clone());
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(golden) = goldens.get(i) else { return done };
            done.push((i, engine.generate(&request(&header, &golden.prompt_ids, golden.ids.len() as u32)).0));
        }
    };
    let mut all = std::thread::scope(|threads| {
        let workers = [threads.spawn(work), threads.spawn(work)];
        workers.map(|worker| worker.join().expect("generates")).concat()
    });
    all.sort_by_key(|&(i, _)| i);
    all.into_iter().map(|(_, ids)| ids).collect()
}

/// Compares answers with those of `transformers`, token for token: how many are the same; prints the others.
fn n_same(what: &str, expected: &[Vec<u32>], got: &[Vec<u32>]) -> usize {
    assert_eq!(got.len(), expected.len());
    let mut n_same = 0;
    for (i, (expected, got)) in expected.iter().zip(got).enumerate() {
        let differs = (0..expected.len().max(got.len())).find(|&at| expected.get(at) != got.get(at));
        match differs {
            None => n_same += 1,
            Some(at) => println!("{what}: line {} differs from token {at} of {} on", i + 1, expected.len()),
        }
    }
    println!("{what}: {n_same} of {} answers as in transformers", expected.len());
    n_same
}

/// Answers all lines, each token as in `transformers`; returns how many lines are right, and how many are there.
fn check(name: &str, place: &Place, options: &EngineOptions, goldens: &[Golden]) -> (usize, usize) {
    let (header, _) = read(name);
    let expected: Vec<Vec<u32>> = goldens.iter().map(|golden| golden.ids.clone()).collect();
    let got = answers(name, place, options, goldens);
    let n_same = n_same(&format!("{name} on {place}, {:?} cache", options.cache), &expected, &got);
    assert_eq!(n_same, goldens.len(), "{name} on {place}");
    let n_right =
        |all: &[Vec<u32>]| goldens.iter().zip(all).filter(|(golden, ids)| golden.is_right(&header, ids)).count();
    (n_right(&got), n_right(&expected))
}

#[test]
fn questions_become_the_same_tokens() {
    let no_thought = RenderOptions { enable_thinking: Some(false), ..RenderOptions::default() };
    for (name, golden) in [("tiny-r1", "tiny_r1"), ("tiny-r1-distill.gguf", "tiny_r1_distill")] {
        let (header, _) = read(name);
        let template = header.template.as_ref().expect("has a template");
        let goldens = goldens(golden);
        assert!(!goldens.is_empty(), "{golden} is empty");
        for golden in goldens {
            let question = [Message::new(Role::User, &golden.question)];
            let render = |options: &RenderOptions| template.render(&question, options).expect("renders");
            let prompt = render(&RenderOptions::default());
            assert!(prompt.opens_thought);
            assert_eq!(header.tokenizer.encode_prompt(&prompt), golden.prompt_ids, "{name}, `{}`", golden.question);
            let closed = format!("{}\n</think>\n\n", prompt.plain_text());
            assert_eq!(render(&no_thought).plain_text(), closed, "{name}");
            assert_eq!(header.tokenizer.decode(&golden.ids), golden.text, "{name}");
        }
    }
}

#[test]
fn a_hundred_answers_are_those_of_transformers() {
    let Some(place) = fastest_gpu() else { return };
    let goldens = goldens("tiny_r1");
    let (right, reference) = check("tiny-r1", &place, &options(), &goldens[..100]);
    println!("{right} of 100 are right, in transformers {reference}");
    assert!(right.abs_diff(reference) <= 1, "{right} of 100 are right, in transformers {reference}");
}

#[test]
fn every_adapter_and_the_oracle_answer_alike() {
    let name = |place: &Place| if let Place::Gpu { name, .. } = place { name.clone() } else { String::new() };
    let fastest = fastest_gpu().as_ref().map(name);
    let mut others: Vec<Place> = gpus().into_iter().filter(|place| Some(name(place)) != fastest).collect();
    // One variant of each: what subgroups change, the tests of kernels and tiny models tell.
    others.dedup_by_key(|place| name(place));
    for place in [Place::Cpu].into_iter().chain(others) {
        check("tiny-r1", &place, &options(), &goldens("tiny_r1")[..N_EVERYWHERE]);
    }
}

/// The model as users load it.
fn load(place: &Place, drafts: Drafts) -> Model {
    let Place::Gpu { index, options, .. } = place else { panic!("a GPU is needed") };
    let device = Choice::Named(index.to_string());
    let options = LoadOptions { device, gpu: *options, n_ctx: Some(1024), drafts, ..LoadOptions::default() };
    pollster::block_on(Model::load(files("tiny-r1"), &options, |_| {})).expect("loads")
}

/// Thought, answer, and how it went.
fn ask(model: &mut Model, question: &str, options: &ChatOptions) -> (String, String, Ending) {
    let (mut thought, mut answer) = (String::new(), String::new());
    let question = [Message::new(Role::User, question)];
    let ending = model.chat(&question, options, |event| {
        match event {
            ChatEvent::Reasoning(text) => thought.push_str(&text),
            ChatEvent::Answer(text) => answer.push_str(&text),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let ending = pollster::block_on(ending).expect("answers");
    (thought, answer, ending)
}

#[test]
fn a_thought_that_is_suppressed_is_answered_as_by_transformers() {
    let Some(place) = fastest_gpu() else { return };
    let mut model = load(&place, Drafts::Off);
    let render = RenderOptions { enable_thinking: Some(false), ..RenderOptions::default() };
    let options = ChatOptions { render, ..ChatOptions::default() };
    let mut n = 0;
    for golden in goldens("tiny_r1") {
        let Some(ids) = golden.suppressed_ids else { continue };
        let (thought, answer, ending) = ask(&mut model, &golden.question, &options);
        let expected = model.header().tokenizer.decode(&ids);
        assert_eq!((thought.as_str(), answer.as_str()), ("", expected.as_str()), "{}", golden.question);
        assert_eq!((ending.usage.reasoning_tokens, ending.usage.completion_tokens), (0, ids.len()));
        n += 1;
        if n == N_SUPPRESSED {
            break;
        }
    }
    assert_eq!(n, N_SUPPRESSED, "so many lines have suppressed_ids");
}

#[test]
fn two_tokens_at_once_give_the_same_text() {
    let Some(place) = fastest_gpu() else { return };
    let mut model = load(&place, Drafts::NextToken);
    let (mut drafted, mut accepted, mut steps) = (0, 0, 0);
    // Milliseconds and tokens, without drafts and with them.
    let mut times = [(0.0, 0); 2];
    for golden in &goldens("tiny_r1")[..N_DRAFTED] {
        let texts = [false, true].map(|drafts| {
            model.set_drafting(drafts);
            let (thought, answer, ending) = ask(&mut model, &golden.question, &ChatOptions::default());
            let time = &mut times[usize::from(drafts)];
            *time = (time.0 + ending.timings.decode_ms, time.1 + ending.usage.completion_tokens - 1);
            if let Some(report) = ending.drafts.filter(|_| drafts) {
                (drafted, accepted) = (drafted + report.drafted[0], accepted + report.accepted[0]);
                steps += report.steps;
            }
            (thought, answer)
        });
        assert_eq!(texts[0], texts[1], "{}", golden.question);
        assert!(golden.text.starts_with(&texts[0].0) && golden.text.ends_with(&texts[0].1), "{}", golden.question);
    }
    let share = accepted as f64 / drafted as f64;
    let [plain, with] = times.map(|(ms, n)| f64::from(n as u32) / ms * 1e3);
    println!(
        "{place}: {accepted} of {drafted} drafts right ({:.1} %), {:.2} tokens a step, {plain:.1} tokens/s without, \
         {with:.1} with: {:.2} times as fast",
        share * 100.0,
        1.0 + accepted as f64 / steps as f64,
        with / plain,
    );
    assert!(share >= ACCEPTANCE, "{accepted} of {drafted} drafts right, at least {ACCEPTANCE} are wanted");
}

#[test]
fn the_distill_answers_as_transformers_does() {
    let Some(place) = fastest_gpu() else { return };
    check("tiny-r1-distill.gguf", &place, &options(), &goldens("tiny_r1_distill")[..20]);
}
