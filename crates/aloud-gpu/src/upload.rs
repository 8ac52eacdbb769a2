//! Weights on their way to the device.

use crate::device::Gpu;
use crate::error::GpuError;
#[cfg(not(target_arch = "wasm32"))]
use crate::staging::{BUFFER_BYTES, Staging};
use wgpu::WriteOnly;

/// Where bytes go.
pub struct Target<'a> {
    pub buffer: &'a wgpu::Buffer,
    /// A multiple of 4.
    pub offset: u64,
    /// A multiple of 4.
    pub bytes: u64,
}

/// Natively through a ring of mapped buffers; a browser's own copies are faster than buffers that are mapped again and again.
#[derive(Default)]
pub struct Upload {
    #[cfg(not(target_arch = "wasm32"))]
    staging: Staging,
}

impl Upload {
    /// Bytes that are best written at once.
    pub fn best_bytes() -> u64 {
        #[cfg(not(target_arch = "wasm32"))]
        return BUFFER_BYTES;
        #[cfg(target_arch = "wasm32")]
        return 1 << 30;
    }

    /// Has `fill` write what goes to these targets.
    pub fn write(
        &mut self,
        gpu: &Gpu,
        targets: [Target<'_>; 2],
        fill: impl FnOnce([WriteOnly<'_, [u8]>; 2]),
    ) -> Result<(), GpuError> {
        #[cfg(not(target_arch = "wasm32"))]
        if targets.iter().map(|target| target.bytes).sum::<u64>() <= BUFFER_BYTES {
            return self.staging.write(gpu, targets, fill);
        }
        let mut bytes = targets.each_ref().map(|target| vec![0; target.bytes as usize]);
        fill(bytes.each_mut().map(|bytes| WriteOnly::from_mut(bytes.as_mut_slice())));
        for (target, bytes) in targets.iter().zip(&bytes).filter(|(target, _)| target.bytes > 0) {
            gpu.write(target.buffer, target.offset, bytes);
        }
        gpu.check()
    }

    /// Has the device copy what was written so far, before whatever is submitted next.
    pub fn flush(&mut self, gpu: &Gpu) {
        #[cfg(not(target_arch = "wasm32"))]
        self.staging.flush(gpu);
        #[cfg(target_arch = "wasm32")]
        let _ = gpu;
    }

    /// The same, and keeps no memory for more.
    pub fn end(&mut self, gpu: &Gpu) {
        self.flush(gpu);
        *self = Upload::default();
    }

    /// Bytes of main memory that are held besides the weights.
    pub fn held_bytes(&self) -> u64 {
        #[cfg(not(target_arch = "wasm32"))]
        return self.staging.held_bytes();
        #[cfg(target_arch = "wasm32")]
        return 0;
    }
}
