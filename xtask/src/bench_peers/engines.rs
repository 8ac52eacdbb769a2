//! The engines that are compared, and how a round of each is measured.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::install::Place;
use crate::{vulkan, workspace};

/// What is compared, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Aloud on Vulkan.
    Native,
    /// llama.cpp on Vulkan.
    LlamaCpp,
    /// Aloud's package in Chromium.
    Chromium,
    /// llama.cpp as wasm, on WebGPU.
    Wllama,
    /// onnxruntime-web on WebGPU, with a loop of ours around it.
    OnnxRuntime,
    /// transformers.js on WebGPU.
    Transformers,
    /// tiny-r1 in Aloud's package, in a Chromium as it comes.
    Tiny,
}

/// What `tests/peers/task.json` asks of all.
#[derive(Deserialize)]
pub struct Task {
    pub prompt_tokens: u32,
    pub answer_tokens: u32,
    /// Of the question in SmolLM2's template: the answer is made behind them.
    pub cached_tokens: u32,
    pub system: String,
    pub question: String,
    /// One that tiny-r1 can answer, at length.
    pub tiny_question: String,
}

impl Task {
    pub fn read() -> Self {
        serde_json::from_str(include_str!("../../../tests/peers/task.json")).expect("task.json is as its reader")
    }
}

/// What was measured of an engine in a round.
#[derive(Deserialize)]
pub struct Round {
    pub version: String,
    /// The adapter that computed.
    pub device: String,
    /// Tokens of the prompt that were computed.
    prompt_tokens: u32,
    /// Tokens in the cache when the answer began.
    cached_tokens: u32,
    /// Tokens of the prompt per second, up to the first token behind it.
    pub prefill: f64,
    /// Tokens of the answer per second, from the first to the last.
    pub decode: f64,
    /// The answer: what shows that it computed the model.
    pub text: String,
}

impl Engine {
    pub const ALL: [Engine; 7] = [
        Engine::Native,
        Engine::LlamaCpp,
        Engine::Chromium,
        Engine::Wllama,
        Engine::OnnxRuntime,
        Engine::Transformers,
        Engine::Tiny,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Engine::Native => "Aloud, native",
            Engine::LlamaCpp => "llama.cpp, Vulkan backend",
            Engine::Chromium => "Aloud in Chromium",
            Engine::Wllama => "wllama in Chromium",
            Engine::OnnxRuntime => "onnxruntime-web in Chromium",
            Engine::Transformers => "transformers.js in Chromium",
            Engine::Tiny => "Aloud in Chromium on SwiftShader, tiny-r1",
        }
    }

    pub fn is_in_browser(self) -> bool {
        !matches!(self, Engine::Native | Engine::LlamaCpp)
    }

    /// Measures one round in a process of its own.
    pub fn measure(self, place: &Place) -> Result<Round> {
        let task = Task::read();
        let round = match self {
            Engine::Native => native(place, &task)?,
            _ => {
                serde_json::from_str(&output(&mut self.script(place, &task)?)?).context("the script's line of JSON")?
            }
        };
        let (adapter, cached_tokens) =
            if self == Engine::Tiny { ("swiftshader", round.cached_tokens) } else { ("llvmpipe", task.cached_tokens) };
        ensure!(round.device.contains(adapter), "it ran on {}, expected {adapter}", round.device);
        let expected = (task.prompt_tokens, cached_tokens);
        let found = (round.prompt_tokens, round.cached_tokens);
        ensure!(found == expected, "expected (prompt, question) of {expected:?} tokens, found {found:?}");
        ensure!(!round.text.trim().is_empty(), "the answer is empty");
        Ok(round)
    }

    /// The script that measures it.
    fn script(self, place: &Place, task: &Task) -> Result<Command> {
        let scripts = workspace::root().join("tests/peers");
        if self == Engine::LlamaCpp {
            let mut python = Command::new(place.llama_python());
            python.arg(scripts.join("llamacpp.py")).arg(&place.model);
            on_lavapipe(&mut python, place)?;
            // Of itself it uses no CPU that plays a GPU.
            python.env("GGML_VK_VISIBLE_DEVICES", "0");
            return Ok(python);
        }
        let (script, model) = match self {
            Engine::Wllama => ("wllama.mjs", place.model.clone()),
            Engine::OnnxRuntime => ("onnxruntime.mjs", place.graph()),
            Engine::Transformers => ("transformers.mjs", place.graph()),
            Engine::Tiny => ("aloud.mjs", workspace::root().join("models/tiny-r1")),
            _ => ("aloud.mjs", place.model.clone()),
        };
        let mut node = Command::new("node");
        node.arg(scripts.join(script)).arg(model);
        if self == Engine::Tiny {
            node.arg(&task.tiny_question).env("CHROMIUM", crate::web::chromium());
        } else {
            node.env("CHROMIUM", &place.chromium);
        }
        // Chromium brings its drivers.
        vulkan::ignore_choice(&mut node);
        Ok(node)
    }
}

/// A round of `aloud bench`, with the answer of `aloud ask`.
fn native(place: &Place, task: &Task) -> Result<Round> {
    let aloud = |verb: &str| -> Result<Command> {
        let mut command = Command::new(&place.aloud);
        command.arg(verb).arg("-m").arg(&place.model).args(["--draft", "off"]);
        on_lavapipe(&mut command, place)?;
        Ok(command)
    };
    let number = |n: u32| n.to_string();
    let mut bench = aloud("bench")?;
    bench.args(["-p", &number(task.prompt_tokens), "-n", &number(task.answer_tokens)]);
    bench.args(["--depth", &number(task.cached_tokens), "-r", "1", "--json"]);
    let report: Value = serde_json::from_str(&output(&mut bench)?).context("what `aloud bench --json` wrote")?;
    let speed = |of: &str| report[of][0]["tokens_per_second"]["median"].as_f64().with_context(|| of.to_owned());
    let mut ask = aloud("ask")?;
    ask.args(["--quiet", "--temp", "0", "-n", &number(task.answer_tokens + 1), "--system", &task.system]);
    Ok(Round {
        version: String::new(),
        device: report["device"]["driver"].as_str().unwrap_or_default().to_owned(),
        prompt_tokens: task.prompt_tokens,
        cached_tokens: task.cached_tokens,
        prefill: speed("prefill")?,
        decode: speed("decode")?,
        text: output(ask.arg(&task.question))?,
    })
}

/// Lets a program see lavapipe and no other driver.
fn on_lavapipe(command: &mut Command, place: &Place) -> Result<()> {
    vulkan::set_env(command, vulkan::CpuDrivers::Lavapipe)?;
    vulkan::ignore_choice(command);
    command.env("VK_DRIVER_FILES", &place.lavapipe);
    Ok(())
}

/// What a program writes to its standard output; the end of its standard error, if it fails.
fn output(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output =
        command.stdin(std::process::Stdio::null()).output().with_context(|| format!("could not start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.trim().lines().rev().take(24).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ensure!(output.status.success(), "{program}: {}\n{}", output.status, last.join("\n"));
    Ok(String::from_utf8(output.stdout)?)
}
