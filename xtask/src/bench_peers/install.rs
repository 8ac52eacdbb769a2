//! What a comparison needs: each part is made once, with its reason, and nothing half-made is taken for done.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::engines::Engine;
use crate::lavapipe_chromium;
use crate::workspace::once;
use crate::{aside, assets, reference, run, setup, web, workspace};

/// llama.cpp, as PyPI has it; and what its Python asks for.
const LLAMA_CPP: &[&str] = &["llama-cpp-python==0.3.36", "numpy==2.4.6"];
/// Debian's release whose Vulkan headers are too old for llama.cpp, and the one whose are not.
const OLD_HEADERS: (&str, &str) = ("bookworm", "trixie");
/// Where everything lies.
pub struct Place {
    /// `target/peers`.
    folder: PathBuf,
    /// SmolLM2-135M, Q4_1.
    pub model: PathBuf,
    /// lavapipe's description.
    pub lavapipe: PathBuf,
    /// The program `aloud`.
    pub aloud: PathBuf,
    /// A Chromium whose WebGPU is lavapipe, if an engine runs in one.
    pub chromium: PathBuf,
}

impl Place {
    /// Makes what is missing for these engines.
    pub fn set_up(engines: &[Engine]) -> Result<Self> {
        let target = workspace::target_dir()?;
        let mut place = Place {
            folder: target.join("peers"),
            model: assets::smollm2()?,
            chromium: PathBuf::new(),
            lavapipe: lavapipe_chromium::driver()?,
            aloud: target.join("release").join(format!("aloud{}", std::env::consts::EXE_SUFFIX)),
        };
        run::run("Aloud itself", run::cargo().args(["build", "--release", "-p", "aloud-cli", "--bin", "aloud"]))?;
        if engines.contains(&Engine::LlamaCpp) {
            place.make_llama_cpp()?;
        }
        if engines.iter().any(|engine| engine.is_in_browser()) {
            setup::for_web()?;
            setup::npm_packages(
                &workspace::root().join("tests/peers"),
                "The engines to compare with in a browser: wllama, onnxruntime-web and transformers.js",
            )?;
            place.chromium = lavapipe_chromium::make()?;
            place.make_graph()?;
            web::package()?;
        }
        Ok(place)
    }

    /// The Python that has llama.cpp.
    pub fn llama_python(&self) -> PathBuf {
        self.folder.join("llama-cpp/bin/python")
    }

    /// The folder with the ONNX graph.
    pub fn graph(&self) -> PathBuf {
        self.folder.join("onnx")
    }

    fn make_llama_cpp(&self) -> Result<()> {
        let pins = LLAMA_CPP.join("\n");
        once(&self.folder.join("llama-cpp"), &pins, |venv| {
            setup::debian_packages(
                &["g++", "glslc", "libvulkan-dev", "spirv-headers", "python3-venv"],
                "llama.cpp's Vulkan backend is built from source",
                "A C++ compiler, glslc, the headers of Vulkan (1.3.275 or newer) and of SPIR-V, and Python with venv",
            )?;
            let headers = venv.join("headers");
            let mut flags = vec!["-DGGML_VULKAN=on".to_owned(), "-DLLAMA_BUILD_TESTS=off".to_owned()];
            let mut pip = Command::new(venv.join("bin/python"));
            if setup::debian().is_some_and(|codename| codename == OLD_HEADERS.0) {
                let why = "Newer headers of Vulkan than this Debian has, which llama.cpp needs; nothing is installed";
                aside::unpack(why, &headers, &[OLD_HEADERS.1], &["libvulkan-dev".to_owned()])?;
                let include = headers.join("files/usr/include");
                flags.push(format!("-DVulkan_INCLUDE_DIR={}", include.display()));
                pip.env("CXXFLAGS", format!("-I{}", include.display()));
            }
            run::run(
                "A Python of its own, so that nothing else on this machine changes",
                Command::new("python3").args(["-m", "venv"]).arg(venv),
            )?;
            let cores = std::thread::available_parallelism()?.to_string();
            pip.env("CMAKE_ARGS", flags.join(" ")).env("CMAKE_BUILD_PARALLEL_LEVEL", cores);
            // A wheel that pip once built or fetched would be one without Vulkan.
            pip.args(["-m", "pip", "install", "--no-cache-dir", "--no-binary", "llama-cpp-python"]).args(LLAMA_CPP);
            run::run("llama.cpp with its Vulkan backend, from source (minutes)", &mut pip)
        })
    }

    fn make_graph(&self) -> Result<()> {
        let scripts = workspace::root().join("tests/peers");
        let (script, packages) = (scripts.join("onnx_model.py"), scripts.join("requirements.txt"));
        let made_of = fs::read_to_string(&script)? + &fs::read_to_string(&packages)?;
        once(&self.graph(), &made_of, |folder| {
            let python = reference::reference()?;
            run::run(
                "What builds the graph, beside the pinned packages that are there",
                Command::new(&python)
                    .args(["-m", "pip", "install", "--quiet", "-c"])
                    .arg(workspace::root().join("training/requirements.txt"))
                    .arg("-r")
                    .arg(&packages),
            )?;
            run::run(
                "The same model as an int4 graph, for onnxruntime-web and transformers.js",
                Command::new(&python).arg(&script).arg(&self.model).arg(folder),
            )
        })
    }
}
