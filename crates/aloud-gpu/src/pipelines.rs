//! Pipelines: ordered when a plan is compiled, there when one first runs.
//!
//! Where there are threads, some of them make pipelines while the caller goes on: naga and the driver's compiler are the slow
//! part of making a plan ready, and weights come meanwhile. A browser compiles beside the page by itself.

use aloud_shaders::Kernel;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// A pipeline by kernel and the bits of its constants.
type Key = (&'static str, Vec<(&'static str, u64)>);

/// What the pipelines of a kernel share.
struct Module {
    shader: Arc<OnceLock<wgpu::ShaderModule>>,
    bind_layout: wgpu::BindGroupLayout,
    pipeline_layout: wgpu::PipelineLayout,
}

/// All that a pipeline is made of.
struct Order {
    device: wgpu::Device,
    checked: bool,
    kernel: &'static Kernel,
    constants: Vec<(&'static str, f64)>,
    shader: Arc<OnceLock<wgpu::ShaderModule>>,
    layout: wgpu::PipelineLayout,
}

impl Order {
    fn make(&self) -> wgpu::ComputePipeline {
        let module = self.shader.get_or_init(|| shader(&self.device, self.kernel, self.checked));
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.kernel.name),
            layout: Some(&self.layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &self.constants,
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        })
    }
}

/// Number of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineId(usize);

/// The pipelines of a device.
pub struct Pipelines {
    device: wgpu::Device,
    checked: bool,
    modules: HashMap<&'static str, Module>,
    ids: HashMap<Key, PipelineId>,
    made: Vec<Option<wgpu::ComputePipeline>>,
    #[cfg(not(target_arch = "wasm32"))]
    makers: Option<makers::Makers>,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device, checked: bool) -> Self {
        Pipelines {
            device: device.clone(),
            checked,
            modules: HashMap::new(),
            ids: HashMap::new(),
            made: Vec::new(),
            #[cfg(not(target_arch = "wasm32"))]
            makers: None,
        }
    }

    /// Has the pipeline of a kernel with these constants made, unless it was before. Whether it is a new one comes with it.
    pub fn order(&mut self, kernel: &'static Kernel, constants: &[(&'static str, f64)]) -> (PipelineId, bool) {
        let key = (kernel.name, constants.iter().map(|&(name, v)| (name, v.to_bits())).collect());
        if let Some(&id) = self.ids.get(&key) {
            return (id, false);
        }
        let id = PipelineId(self.made.len());
        self.ids.insert(key, id);
        let module = self.module(kernel);
        let (shader, layout) = (Arc::clone(&module.shader), module.pipeline_layout.clone());
        let (device, checked, constants) = (self.device.clone(), self.checked, constants.to_vec());
        let order = Order { device, checked, kernel, constants, shader, layout };
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.made.push(None);
            self.makers.get_or_insert_with(makers::Makers::new).order(id, order);
        }
        #[cfg(target_arch = "wasm32")]
        self.made.push(Some(order.make()));
        (id, true)
    }

    /// Waits for all that was ordered.
    pub fn finish(&mut self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(makers) = self.makers.take() {
            makers.finish(|PipelineId(id), pipeline| self.made[id] = Some(pipeline));
        }
    }

    /// A pipeline that was waited for.
    pub fn get(&self, PipelineId(id): PipelineId) -> &wgpu::ComputePipeline {
        self.made[id].as_ref().expect("whoever runs a plan waits for its pipelines first")
    }

    pub fn bind_layout(&mut self, kernel: &'static Kernel) -> &wgpu::BindGroupLayout {
        &self.module(kernel).bind_layout
    }

    fn module(&mut self, kernel: &'static Kernel) -> &Module {
        self.modules.entry(kernel.name).or_insert_with(|| {
            let entries: Vec<wgpu::BindGroupLayoutEntry> = kernel
                .bindings
                .iter()
                .map(|b| wgpu::BindGroupLayoutEntry {
                    binding: b.index,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer {
                        ty: wgpu::BufferBindingType::Storage { read_only: !b.writable },
                        has_dynamic_offset: false,
                        min_binding_size: None,
                    },
                    count: None,
                })
                .collect();
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some(kernel.name), entries: &entries };
            let bind_layout = self.device.create_bind_group_layout(&descriptor);
            let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(kernel.name),
                bind_group_layouts: &[Some(&bind_layout)],
                immediate_size: 0,
            });
            Module { shader: Arc::default(), bind_layout, pipeline_layout }
        })
    }
}

fn shader(device: &wgpu::Device, kernel: &'static Kernel, checked: bool) -> wgpu::ShaderModule {
    let text = if cfg!(target_arch = "wasm32") { kernel.browser_wgsl() } else { kernel.wgsl() };
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(text.into()) };
    if checked {
        return device.create_shader_module(descriptor);
    }
    #[expect(
        unsafe_code,
        reason = "bounds and loop checks cost up to half the speed; ADR 0005 says what replaces them"
    )]
    // SAFETY: the module is one of our own constants: validated by naga at build time, every index bounded by the shapes
    // that the planner derives the bindings and constants from, every loop by those constants; tests run all kernels with
    // checks on as well and compare.
    unsafe {
        device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
    }
}

/// Threads that make pipelines.
#[cfg(not(target_arch = "wasm32"))]
mod makers {
    use super::{Order, PipelineId};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::sync::{Arc, Mutex, PoisonError};
    use std::thread::JoinHandle;

    /// More threads than this would wait for one another: drivers lock, and a model has some 40 pipelines.
    const MOST: usize = 4;

    pub struct Makers {
        orders: Option<Sender<(PipelineId, Order)>>,
        made: Receiver<(PipelineId, wgpu::ComputePipeline)>,
        threads: Vec<JoinHandle<()>>,
        given_up: Arc<AtomicBool>,
    }

    impl Makers {
        pub fn new() -> Self {
            let (orders, todo) = mpsc::channel::<(PipelineId, Order)>();
            let (done, made) = mpsc::channel();
            let todo = Arc::new(Mutex::new(todo));
            let given_up = Arc::new(AtomicBool::new(false));
            let n = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST));
            let threads = (0..n).map(|_| {
                let (todo, done, given_up) = (Arc::clone(&todo), done.clone(), Arc::clone(&given_up));
                std::thread::spawn(move || {
                    let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok((id, order)) = next() {
                        // Nobody waits for it if sending fails.
                        if given_up.load(Relaxed) || done.send((id, order.make())).is_err() {
                            break;
                        }
                    }
                })
            });
            Makers { orders: Some(orders), made, threads: threads.collect(), given_up }
        }

        pub fn order(&self, id: PipelineId, order: Order) {
            let orders = self.orders.as_ref().expect("taken at the end only");
            orders.send((id, order)).expect("threads end at the end only");
        }

        /// Ends when the last thread has.
        pub fn finish(mut self, mut each: impl FnMut(PipelineId, wgpu::ComputePipeline)) {
            self.orders = None;
            self.made.iter().for_each(|(id, pipeline)| each(id, pipeline));
            for thread in self.threads.drain(..) {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    impl Drop for Makers {
        /// No thread is left inside the driver, which may be unloaded next.
        fn drop(&mut self) {
            self.given_up.store(true, Relaxed);
            self.orders = None;
            for thread in self.threads.drain(..) {
                // A panic was told of on stderr, and what it was to make is not wanted any more.
                let _ = thread.join();
            }
        }
    }
}
