//! A Vulkan device that compiles and cannot run, and what it tells of a pipeline.

#![expect(
    unsafe_code,
    reason = "Vulkan's own interface; every structure is made by ash, and outlives the call it is for"
)]

use crate::{Compiled, assembly, gates, sizes};
use aloud_shaders::Kernel;
use anyhow::{Context, Result, ensure};
use ash::vk;
use std::ffi::CStr;

/// The driver's device.
pub struct Device {
    _entry: ash::Entry,
    device: ash::Device,
    executables: ash::khr::pipeline_executable_properties::Device,
    /// Whether it has cooperative matrices; AMD's are of 16 x 16.
    has_matrices: bool,
}

impl Device {
    /// Opens the one device that there is.
    pub fn open() -> Result<Device> {
        // SAFETY: the loader is that of the system, and stays loaded as long as the device.
        let entry = unsafe { ash::Entry::load() }.context("no Vulkan loader (libvulkan.so.1)")?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let about = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY: `about` is complete; the instance lives until the process ends.
        let instance = unsafe { entry.create_instance(&about, None) }.context("no Vulkan instance")?;
        // SAFETY: the instance is alive.
        let devices = unsafe { instance.enumerate_physical_devices() }?;
        let physical = *devices.first().context("the driver offers no device")?;
        // SAFETY: the device is one of the instance's.
        let offered = unsafe { instance.enumerate_device_extension_properties(physical) }?;
        let has_matrices = offered.iter().any(|one| text(&one.extension_name) == "VK_KHR_cooperative_matrix");
        let mut extensions = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
        if has_matrices {
            extensions.push(ash::khr::cooperative_matrix::NAME.as_ptr());
        }
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(has_matrices);
        let mut info =
            vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
        let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
            .subgroup_size_control(true)
            .maintenance4(true)
            .shader_integer_dot_product(true);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default().vulkan_memory_model(true).shader_float16(true);
        let mut v11 = vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(true);
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let about = vk::DeviceCreateInfo::default()
            .enabled_extension_names(&extensions)
            .push_next(&mut info)
            .push_next(&mut v13)
            .push_next(&mut v12)
            .push_next(&mut v11);
        let about = if has_matrices { about.push_next(&mut matrices) } else { about };
        // A GPU that is not there has no queue to open.
        // SAFETY: all that `about` points to lives until the call returns.
        let device = unsafe {
            instance
                .create_device(physical, &about, None)
                .or_else(|_| instance.create_device(physical, &about.queue_create_infos(&queues), None))
        }
        .context("the device does not open")?;
        let executables = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Device { _entry: entry, device, executables, has_matrices })
    }

    /// Whether it can run such a kernel. Matrices of 8 x 8 are Apple's.
    pub fn takes(&self, kernel: &Kernel) -> bool {
        let by_matrices = kernel.enables.contains(&"wgpu_cooperative_matrix");
        !by_matrices || (self.has_matrices && !kernel.name.ends_with("coop8"))
    }

    /// Compiles a kernel and reads what came of it.
    pub fn compile(&self, kernel: &'static Kernel) -> Result<Compiled> {
        let (spirv, bindings) = spirv(kernel)?;
        let layout: Vec<vk::DescriptorSetLayoutBinding<'_>> = bindings
            .iter()
            .map(|&index| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(index)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        // SAFETY: the device is alive, and so is all that the structures point to; the SPIR-V is valid, naga made it.
        let pipeline = unsafe {
            let module = self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&spirv), None)?;
            let layout = vk::DescriptorSetLayoutCreateInfo::default().bindings(&layout);
            let sets = [self.device.create_descriptor_set_layout(&layout, None)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&layout, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let kept = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let about = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(kept);
            let made = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[about], None);
            made.map_err(|(_, error)| error)?[0]
        };
        let statistics = self.statistics(pipeline)?;
        let figure = |name: &str| statistics.iter().find(|(known, _)| known == name).map_or(0, |&(_, value)| value);
        let assembly = self.assembly(pipeline)?;
        Ok(Compiled {
            name: kernel.name.to_owned(),
            vgprs: figure("VGPRs"),
            spills: figure("Spilled VGPRs") + figure("Spilled SGPRs"),
            lds_bytes: figure("LDS size"),
            waves: figure("Subgroups per SIMD"),
            main_loop: assembly::main_loop(&assembly, &bindings, gates::weights_binding(kernel.name)),
            assembly: Some(assembly),
        })
    }

    fn statistics(&self, pipeline: vk::Pipeline) -> Result<Vec<(String, u64)>> {
        let about = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline was made with its statistics captured.
        let all = unsafe { self.executables.get_pipeline_executable_statistics(&about) }?;
        let mut found = Vec::new();
        for statistic in &all {
            if statistic.format == vk::PipelineExecutableStatisticFormatKHR::UINT64 {
                // SAFETY: the format says which field of the union is set.
                found.push((text(&statistic.name), unsafe { statistic.value.u64 }));
            }
        }
        ensure!(!found.is_empty(), "the driver tells nothing of the pipeline");
        Ok(found)
    }

    fn assembly(&self, pipeline: vk::Pipeline) -> Result<String> {
        let about = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        let ask = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let mut n = 0;
        // SAFETY: first the number, then the sizes, then the texts, each into room for as much.
        let texts = unsafe {
            ask(self.device.handle(), &about, &raw mut n, std::ptr::null_mut()).result()?;
            let mut all = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); n as usize];
            ask(self.device.handle(), &about, &raw mut n, all.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> = all.iter().map(|one| vec![0; one.data_size]).collect();
            for (one, text) in all.iter_mut().zip(&mut texts) {
                one.p_data = text.as_mut_ptr().cast();
            }
            ask(self.device.handle(), &about, &raw mut n, all.as_mut_ptr()).result()?;
            all.iter().map(|one| text(&one.name)).zip(texts).collect::<Vec<_>>()
        };
        let assembly =
            texts.into_iter().find(|(name, _)| name == "Assembly").context("the driver shows no assembly")?.1;
        Ok(String::from_utf8_lossy(&assembly).trim_end_matches('\0').to_owned())
    }
}

fn text(name: &[std::ffi::c_char]) -> String {
    // SAFETY: the driver writes names with a zero at their end.
    unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned()
}

/// A kernel as wgpu hands it to Vulkan, with the sizes of a real layer, and the numbers of its bindings.
fn spirv(kernel: &Kernel) -> Result<(Vec<u32>, Vec<u32>)> {
    let source = kernel.wgsl();
    let module = naga::front::wgsl::parse_str(&source)?;
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    let info = validator.validate(&module)?;
    let constants = sizes::of(kernel.name, kernel.overrides).into_iter().collect();
    let stage = Some((naga::ShaderStage::Compute, "main"));
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, stage, &constants)?;
    let options = naga::back::spv::Options {
        lang_version: (1, 6),
        bounds_check_policies: naga::proc::BoundsCheckPolicies::default(),
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: naga::back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..naga::back::spv::Options::default()
    };
    let entry =
        naga::back::spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".to_owned() };
    let words = naga::back::spv::write_vec(&module, &info, &options, Some(&entry))?;
    let mut bindings: Vec<u32> = kernel.bindings.iter().map(|binding| binding.index).collect();
    bindings.sort_unstable();
    Ok((words, bindings))
}
