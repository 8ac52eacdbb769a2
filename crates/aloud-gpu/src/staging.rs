//! A ring of mapped buffers through which weights reach the device, where buffers can be mapped without waiting for a browser:
//! no more of a model than the ring waits in memory, and what is filled is what the device copies from.
//!
//! As `wgpu::util::StagingBelt`, but bounded, counted, and a lost device is an error and no panic.

use crate::device::Gpu;
use crate::error::GpuError;
use crate::upload::Target;
use futures_channel::oneshot;
use std::collections::VecDeque;
use wgpu::{BufferUsages, WriteOnly};

/// Bytes of a buffer.
pub const BUFFER_BYTES: u64 = 4 << 20;
/// Buffers: one is filled, one copied from, one on its way back.
const BUFFERS: usize = 3;
/// Bytes of main memory that wait on the way to the device at most.
pub const MAX_STAGING_BYTES: u64 = BUFFER_BYTES * BUFFERS as u64;

/// What ranges that are mapped begin at a multiple of.
const ALIGN: u64 = wgpu::MAP_ALIGNMENT;

/// A buffer that is being filled.
struct Filling {
    buffer: wgpu::Buffer,
    used_bytes: u64,
    /// Copies from it.
    encoder: wgpu::CommandEncoder,
}

/// A buffer that the device copies from or gives back.
struct Copied {
    buffer: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

/// The ring.
#[derive(Default)]
pub struct Staging {
    filling: Option<Filling>,
    /// The oldest first.
    copied: VecDeque<Copied>,
}

impl Staging {
    /// Bytes that it holds.
    pub fn held_bytes(&self) -> u64 {
        (self.copied.len() + usize::from(self.filling.is_some())) as u64 * BUFFER_BYTES
    }

    /// Has `fill` write what goes to these targets, which together fit a buffer.
    pub fn write<const N: usize>(
        &mut self,
        gpu: &Gpu,
        targets: [Target<'_>; N],
        fill: impl FnOnce([WriteOnly<'_, [u8]>; N]),
    ) -> Result<(), GpuError> {
        let bytes = targets.iter().map(|target| target.bytes).sum::<u64>();
        let need_bytes = bytes.next_multiple_of(ALIGN);
        let full = |filling: &Filling| filling.used_bytes + need_bytes > BUFFER_BYTES;
        if self.filling.as_ref().is_some_and(full) {
            self.flush(gpu);
        }
        if self.filling.is_none() {
            let buffer = self.buffer(gpu)?;
            self.filling = Some(Filling { buffer, used_bytes: 0, encoder: gpu.encoder() });
        }
        let Filling { buffer, used_bytes, encoder } = self.filling.as_mut().expect("it was just made");
        let from = *used_bytes;
        let refused = |e: wgpu::MapRangeError| GpuError::Refused { reason: e.to_string() };
        let mut view = buffer.get_mapped_range_mut(from..from + need_bytes).map_err(refused)?;
        let mut rest = view.slice(..);
        fill(
            targets
                .each_ref()
                .map(|target| rest.split_off(..target.bytes as usize).expect("the range is as long as all")),
        );
        drop(view);
        let mut at = from;
        for target in targets.iter().filter(|target| target.bytes > 0) {
            encoder.copy_buffer_to_buffer(buffer, at, target.buffer, target.offset, target.bytes);
            at += target.bytes;
        }
        *used_bytes += need_bytes;
        gpu.count_write();
        Ok(())
    }

    /// Has the device copy what was written so far, before whatever is submitted next.
    pub fn flush(&mut self, gpu: &Gpu) {
        let Some(Filling { buffer, encoder, .. }) = self.filling.take() else { return };
        buffer.unmap();
        let submission = gpu.submit_copies(encoder);
        let (send, mapped) = oneshot::channel();
        buffer.map_async(wgpu::MapMode::Write, .., move |result| {
            // The receiver is gone when the weights were all there before the buffer came back.
            let _ = send.send(result);
        });
        self.copied.push_back(Copied { buffer, submission, mapped });
    }

    /// A mapped buffer: a new one, until the ring has all of them.
    fn buffer(&mut self, gpu: &Gpu) -> Result<wgpu::Buffer, GpuError> {
        if self.copied.len() < BUFFERS {
            let buffer =
                gpu.mapped_buffer("aloud.staging", BUFFER_BYTES, BufferUsages::MAP_WRITE | BufferUsages::COPY_SRC);
            gpu.check()?;
            return Ok(buffer);
        }
        let Copied { buffer, submission, mut mapped } = self.copied.pop_front().expect("the ring has buffers");
        gpu.wait_for(submission)?;
        match mapped.try_recv() {
            Ok(Some(Ok(()))) => Ok(buffer),
            Ok(Some(Err(e))) => Err(GpuError::DeviceLost { reason: e.to_string() }),
            Ok(None) | Err(_) => Err(GpuError::DeviceLost { reason: "a buffer did not come back".to_owned() }),
        }
    }
}
