//! Commands that run a model: on whatever adapters there are, with as few loads as possible.

use crate::common::{aloud, good, run, smollm2};
use serde_json::Value;

#[test]
fn the_built_in_model_thinks_and_answers_without_a_flag() {
    let question = "A red box is on the bottom, a blue one on top of it, a yellow one on top of that. \
        Take the blue box out and put it on top. Describe the stack.";
    let run = run(aloud().args(["ask", "--json", "--draft", "mtp", question]));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.starts_with("model: tiny-r1, built in (") && run.err.lines().count() == 1, "{}", run.err);
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = |part: &str| -> String {
        lines.iter().filter(|line| line["type"] == part).map(|line| line["text"].as_str().unwrap()).collect()
    };
    assert!(all("reasoning").contains("red blue yellow"), "{}", run.out);
    assert_eq!(all("answer"), "From bottom to top: red, yellow, blue.");
    let drafts = &lines.last().unwrap()["drafts"];
    assert_eq!((&drafts["kind"], drafts["accepted"][0].as_u64() > Some(0)), (&"mtp".into(), true), "{drafts}");
}

#[test]
fn ask_answers_with_one_json_object_per_line() {
    let question = "What is the capital of France?";
    let out = good(aloud().args(["ask", "--json", "-n", "12", "-m"]).arg(smollm2()).arg(question));
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (done, pieces) = lines.split_last().unwrap();
    let answer: String = pieces
        .iter()
        .map(|piece| {
            assert_eq!(piece["type"], "answer", "SmolLM2 does not think");
            piece["text"].as_str().unwrap()
        })
        .collect();
    assert!(answer.contains("Paris"), "{answer}");
    assert_eq!((&done["type"], &done["finish_reason"]), (&"done".into(), &"stop".into()));
    let [prompt, completion, total] =
        ["prompt_tokens", "completion_tokens", "total_tokens"].map(|key| done["usage"][key].as_u64().unwrap());
    assert_eq!(prompt + completion, total);
    assert!(done["timings"]["decode_tokens_per_second"].as_f64().unwrap() > 0.0, "{done}");
    assert!(done.as_object().unwrap().contains_key("drafts"), "{done}");
}

/// A dense model: steps and nothing else, which add up to the answer.
#[test]
fn a_trace_tells_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let ask = || {
        let mut ask = aloud();
        ask.args(["ask", "--json", "-n", "5", "--temp", "0", "-c", "256", "-m"])
            .arg(smollm2())
            .arg("Why is the sky blue?");
        ask
    };
    let last = |out: &str| -> Value { serde_json::from_str(out.lines().last().unwrap()).unwrap() };
    let (plain, out) = (good(&mut ask()), good(ask().arg("--trace").arg(&path)));
    let pieces = |out: &str| out.lines().filter(|line| line.contains("answer")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(pieces(&out), pieces(&plain), "the answer is the same");
    let steps: Vec<Value> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(steps.iter().all(|step| step["type"] == "step"), "{steps:?}");
    let drawn: usize = steps.iter().map(|step| step["drawn"].as_array().unwrap().len()).sum();
    assert_eq!(last(&out)["usage"]["completion_tokens"], drawn);
    let n_prompt = last(&out)["usage"]["prompt_tokens"].as_u64().unwrap();
    let (prompt, decode): (Vec<&Value>, Vec<&Value>) = steps.iter().partition(|step| step["phase"] == "prompt");
    assert_eq!((prompt.last().unwrap()["n_cached"].as_u64(), decode.len()), (Some(n_prompt), drawn - 1));
    for (i, step) in decode.iter().enumerate() {
        let n_cached = n_prompt + i as u64 + 1;
        // 30 layers of keys and values of 3 heads of 64, in f16.
        assert_eq!(step["cache_bytes"].as_u64(), Some(n_cached * 30 * 2 * 3 * 64 * 2), "{step}");
        assert_eq!((step["pos"].as_u64(), step["tokens"].as_array().unwrap().len()), (Some(n_cached - 1), 1));
        assert_eq!((step["drafts"].as_array().unwrap().len(), step["accepted"].as_u64()), (0, Some(0)));
    }
    let nowhere = run(ask().arg("--trace").arg(folder.path().join("no/such/file")));
    assert_eq!(nowhere.code, 4, "{}", nowhere.err);
}

#[test]
fn a_question_from_stdin_is_answered_on_stdout_alone() {
    let mut ask = aloud();
    ask.args(["ask", "Answer in one word:", "-n", "12", "-c", "512", "-m"]).arg(smollm2());
    let run = run(ask.write_stdin("What is the capital of France?\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("Paris") && run.out.ends_with('\n'), "{}", run.out);
    assert_eq!(run.err, "", "nothing is said where no terminal is");
}

#[test]
fn a_prompt_longer_than_the_context_says_what_to_do() {
    let run = run(aloud().args(["ask", "hi", "-c", "16", "-m"]).arg(smollm2()));
    assert_eq!(run.code, 3);
    assert!(run.err.contains("the context holds 16") && run.err.contains("(-c)"), "{}", run.err);
    assert_eq!(run.err.lines().count(), 1);
}

#[test]
fn a_context_longer_than_trained_is_refused() {
    let run = run(aloud().args(["ask", "hi", "-c", "9999", "-m"]).arg(smollm2()));
    assert_eq!(run.code, 3);
    assert!(run.err.contains("9999") && run.err.contains("8192"), "{}", run.err);
}

#[test]
fn an_unknown_device_is_named_with_those_there_are() {
    let run = run(aloud().args(["ask", "hi", "--device", "no such thing", "-m"]).arg(smollm2()));
    assert_eq!(run.code, 5);
    assert!(run.err.contains("no adapter matches `no such thing`: found 0: "), "{}", run.err);
}

#[test]
fn devices_are_listed_or_missed_with_code_5() {
    let report: Value = serde_json::from_str(&good(aloud().args(["devices", "--json"]))).unwrap();
    let first = &report["devices"][0];
    assert!(good(aloud().arg("devices")).contains(first["name"].as_str().unwrap()));
    // Vulkan without drivers; elsewhere the variable means nothing.
    if cfg!(target_os = "linux") {
        let run = run(aloud().arg("devices").env("VK_DRIVER_FILES", "/nowhere.json"));
        assert_eq!(run.code, 5);
        assert!(run.err.contains("install"), "{}", run.err);
    }
}

#[test]
fn logits_as_npy_are_those_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npy");
    let logits = || {
        let mut logits = aloud();
        logits.args(["logits", "--ids", "504,260,253", "-c", "64", "-m"]).arg(smollm2());
        logits
    };
    assert_eq!(good(logits().arg("--all").arg("-o").arg(&path)), "");
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing half-written is left");
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let dict = String::from_utf8(bytes[10..header].to_vec()).unwrap();
    assert!(dict.contains("'<f4'") && dict.contains("(3, 49152,)"), "{dict}");
    let values: Vec<f32> = bytes[header..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    assert_eq!(values.len(), 3 * 49152);

    let report: Value = serde_json::from_str(&good(&mut logits())).unwrap();
    assert_eq!(report["ids"], serde_json::json!([504, 260, 253]));
    let last: Vec<f32> = report["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    assert_eq!(last, values[2 * 49152..]);
}

#[test]
fn bench_reports_speed_with_spread_and_what_a_token_costs() {
    let mut bench = aloud();
    bench.args(["bench", "--json", "-p", "8", "-n", "2", "--depth", "1,40", "-r", "2", "-m"]).arg(smollm2());
    let report: Value = serde_json::from_str(&good(&mut bench)).unwrap();
    let prefill = &report["prefill"][0];
    assert_eq!(prefill["prompt_tokens"], 8);
    assert!(prefill["time_to_first_token_ms"]["mean"].as_f64().unwrap() > 0.0);
    let decode = report["decode"].as_array().unwrap();
    assert_eq!(decode.iter().map(|d| d["cached_tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 40]);
    for d in decode {
        let speed = |key: &str| d["tokens_per_second"][key].as_f64().unwrap();
        assert!(0.0 < speed("min") && speed("min") <= speed("median") && speed("median") <= speed("max"), "{d}");
        let cost = |key: &str| d["per_token"][key].as_u64().unwrap();
        assert!(cost("dispatches") > 100 && cost("flops") > 200_000_000 && cost("weight_bytes") > 90_000_000, "{d}");
        assert_eq!(cost("bytes"), cost("weight_bytes") + cost("kv_bytes") + cost("activation_bytes"));
        let shares: Vec<f64> =
            d["draws"].as_array().unwrap().iter().map(|draw| draw["share"].as_f64().unwrap()).collect();
        assert!(shares.len() == 3 && shares.iter().all(|share| 0.0 < *share && *share < 0.5), "{d}");
    }
}

#[test]
fn plain_text_is_predicted_better_than_noise() {
    let folder = tempfile::tempdir().unwrap();
    let perplexity = |text: &str| {
        let path = folder.path().join("text");
        std::fs::write(&path, text).unwrap();
        let out =
            good(aloud().args(["perplexity", "--json", "-c", "24", "--chunks", "1", "-m"]).arg(smollm2()).arg(path));
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["chunks"], 1, "{report}");
        report["perplexity"].as_f64().unwrap()
    };
    let text = perplexity(
        "The sun rises in the east and sets in the west. During the day the sky is blue, and at night one can see the stars.",
    );
    let noise = perplexity(
        "zq vxk 19 plo wertz umbrak qwe 77 yxc bnmu jklo trew 4 asdf hgfd poiu lkjh mnbv 2 cxy qay wsx edc rfv",
    );
    assert!(text > 1.0 && text < 40.0 && noise > 10.0 * text, "{text} {noise}");
}

#[test]
fn a_piped_chat_remembers_until_reset() {
    let mut chat = aloud();
    chat.args(["chat", "-n", "8", "-c", "512", "-m"]).arg(smollm2());
    let run = run(chat.write_stdin("What is the capital of France?\n/what\n/reset\n/exit\nnever asked\n"));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("Paris") && run.out.lines().count() == 1, "{}", run.out);
    assert!(run.err.contains("`/what` is no command") && run.err.contains("forgotten"), "{}", run.err);
}

#[test]
fn drafts_change_nothing_that_is_said_and_are_reported_where_that_is_asked_for() {
    let ask = |flags: &[&str]| {
        let mut ask = aloud();
        ask.args(["ask", "-n", "16", "-c", "512", "-m"]).arg(smollm2()).args(flags).arg("Say the word yes ten times.");
        let run = run(&mut ask);
        assert_eq!(run.code, 0, "{}", run.err);
        run
    };
    let plain = ask(&["--draft", "off"]);
    let drafted = ask(&["--stats", "--draft", "lookup", "--draft-tokens", "1"]);
    assert_eq!((drafted.out, plain.err.as_str()), (plain.out, ""));
    assert!(drafted.err.contains("tokens/s") && drafted.err.contains("(drafts: lookup, "), "{}", drafted.err);
}

#[test]
fn multi_token_prediction_by_a_model_without_is_refused() {
    let run = run(aloud().args(["ask", "hi", "--draft", "mtp", "-m"]).arg(smollm2()));
    assert_eq!(run.code, 2);
    assert!(run.err.contains("no layer for multi-token prediction") && run.err.contains("lookup"), "{}", run.err);
}

#[test]
fn bench_measures_the_same_tokens_with_and_without_drafts() {
    let mut bench = aloud();
    bench
        .args(["bench", "--json", "-p", "0", "-n", "12", "-r", "1", "--draft", "lookup", "--draft-tokens", "2", "-m"])
        .arg(smollm2());
    let report: Value = serde_json::from_str(&good(&mut bench)).unwrap();
    let decode = &report["decode"][0];
    let drafts = &decode["drafts"];
    assert_eq!((&drafts["kind"], drafts["drafted"].as_array().unwrap().len()), (&"lookup".into(), 2));
    let median = |value: &Value| value["tokens_per_second"]["median"].as_f64().unwrap();
    let speed_up = drafts["speed_up"].as_f64().unwrap();
    assert!((speed_up - median(drafts) / median(decode)).abs() < 1e-9, "{decode}");
}

#[test]
fn what_is_measured_is_kept_shown_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let here = |args: &[&str]| {
        let mut command = aloud();
        command.args(args).env("XDG_CACHE_HOME", folder.path()).env("ALOUD_TUNE", "auto").env("ALOUD_QUIET", "1");
        command
    };
    assert_eq!(good(&mut here(&["tune", "--show", "--json"])).trim(), "{}");
    // Any command that loads a model measures what is not known yet, that of most weights first.
    let sum = "What is 27 + 48?";
    assert!(good(&mut here(&["ask", sum])).ends_with("75.\n"));
    let known: Value = serde_json::from_str(&good(&mut here(&["tune", "--show", "--json"]))).unwrap();
    let measured: Value = serde_json::from_str(&good(&mut here(&["tune", "--json"]))).unwrap();
    let device = measured["device"].as_str().unwrap();
    assert!(known[device].as_str().is_some_and(|text| text.contains("F8_E4M3/narrow=")), "{known}");
    assert_eq!(measured["measured"].as_array().unwrap().len(), 3, "{measured}");
    let shown = good(&mut here(&["tune", "--show"]));
    assert!(shown.contains(device) && shown.contains("F8_E4M3/narrow") && shown.contains("threads"), "{shown}");
    // A damaged file counts as none.
    std::fs::write(folder.path().join("aloud/tuning.json"), "{").unwrap();
    assert!(good(&mut here(&["ask", sum])).ends_with("75.\n"));
    good(&mut here(&["tune", "--forget"]));
    assert_eq!(good(&mut here(&["tune", "--show"])).lines().next(), Some("nothing was measured yet"));
    assert_eq!(std::fs::read_dir(folder.path().join("aloud")).unwrap().count(), 0, "nothing half-written stays");
}
