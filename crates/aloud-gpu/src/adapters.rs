//! Which adapters there are, and choosing one.

use crate::error::GpuError;
use std::cmp::Reverse;

/// What a user is told of an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSummary {
    /// Number, as in the order of [`adapters`].
    pub index: usize,
    /// The driver's name for it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `CPU` or `other`.
    pub kind: &'static str,
    /// Driver and its version.
    pub driver: String,
    /// Largest single binding in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Workgroup memory in bytes.
    pub max_workgroup_bytes: u32,
    /// Subgroup sizes, if subgroups are offered.
    pub subgroup_sizes: Option<(u32, u32)>,
    /// Whether 16-bit floats can be computed with.
    pub f16: bool,
}

/// How to choose among adapters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one that is likely fastest: discrete, integrated, virtual, other, CPU; of several drivers for the CPU the one with
    /// the widest subgroups.
    #[default]
    Best,
    /// By number or by a part of the name, regardless of case.
    Named(String),
}

pub(crate) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    // No validation of indirect dispatches: there are none. Noncompliant: software drivers used in tests.
    descriptor.flags = wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER;
    wgpu::Instance::new(descriptor)
}

async fn all() -> Vec<wgpu::Adapter> {
    let instance = instance();
    #[cfg(not(target_arch = "wasm32"))]
    return instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    #[cfg(target_arch = "wasm32")]
    {
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        instance.request_adapter(&options).await.into_iter().collect()
    }
}

/// All adapters, in the driver's order.
pub async fn adapters() -> Vec<AdapterSummary> {
    all().await.iter().enumerate().map(|(index, adapter)| summary(index, adapter)).collect()
}

pub(crate) fn summary(index: usize, adapter: &wgpu::Adapter) -> AdapterSummary {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    let subgroups = features.contains(wgpu::Features::SUBGROUP);
    AdapterSummary {
        index,
        name: info.name,
        backend: info.backend.to_string(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete GPU",
            wgpu::DeviceType::IntegratedGpu => "integrated GPU",
            wgpu::DeviceType::VirtualGpu => "virtual GPU",
            wgpu::DeviceType::Cpu => "CPU",
            wgpu::DeviceType::Other => "other",
        },
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        subgroup_sizes: subgroups.then_some((info.subgroup_min_size, info.subgroup_max_size)),
        f16: features.contains(wgpu::Features::SHADER_F16),
    }
}

pub(crate) async fn choose(choice: &Choice) -> Result<(AdapterSummary, wgpu::Adapter), GpuError> {
    let adapters = all().await;
    let summaries: Vec<AdapterSummary> = adapters.iter().enumerate().map(|(i, a)| summary(i, a)).collect();
    let index = match choice {
        Choice::Best => best(&summaries),
        Choice::Named(wanted) => {
            let lower = wanted.to_lowercase();
            let by_number = wanted.parse().ok().filter(|&i: &usize| i < summaries.len());
            by_number.or_else(|| summaries.iter().position(|s| s.name.to_lowercase().contains(&lower)))
        }
    };
    match (index, choice) {
        (Some(index), _) => {
            let adapter = adapters.into_iter().nth(index).expect("the index is of this list");
            Ok((summaries[index].clone(), adapter))
        }
        (None, Choice::Named(wanted)) if !summaries.is_empty() => {
            let found: Vec<String> = summaries.iter().map(|s| format!("{}: {}", s.index, s.name)).collect();
            Err(GpuError::NoSuchAdapter { wanted: wanted.clone(), found: found.join(", ") })
        }
        _ => Err(GpuError::NoAdapter),
    }
}

fn best(adapters: &[AdapterSummary]) -> Option<usize> {
    // Drivers for the CPU compute as many lanes at once as their subgroups are wide; of GPUs that says nothing.
    let lanes = |s: &AdapterSummary| s.subgroup_sizes.filter(|_| s.kind == "CPU").map_or(0, |(_, widest)| widest);
    adapters.iter().min_by_key(|s| (rank(s.kind), Reverse(lanes(s)), s.index)).map(|s| s.index)
}

fn rank(kind: &str) -> usize {
    ["discrete GPU", "integrated GPU", "virtual GPU", "other", "CPU"].iter().position(|k| *k == kind).unwrap_or(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_fastest_is_best() {
        let adapter = |index, kind, widest: u32| AdapterSummary {
            index,
            name: String::new(),
            backend: "vulkan".into(),
            kind,
            driver: String::new(),
            max_binding_bytes: 0,
            max_buffer_bytes: 0,
            max_workgroup_bytes: 0,
            subgroup_sizes: (widest > 0).then_some((4, widest)),
            f16: false,
        };
        let best_of = |kinds: &[(&'static str, u32)]| {
            let adapters: Vec<_> =
                kinds.iter().enumerate().map(|(i, &(kind, widest))| adapter(i, kind, widest)).collect();
            best(&adapters)
        };
        assert_eq!(best_of(&[("CPU", 16), ("integrated GPU", 32), ("discrete GPU", 0)]), Some(2));
        assert_eq!(best_of(&[("discrete GPU", 32), ("discrete GPU", 64)]), Some(0));
        assert_eq!(best_of(&[("CPU", 4), ("CPU", 8), ("CPU", 0)]), Some(1));
        assert_eq!(best_of(&[]), None);
    }
}
