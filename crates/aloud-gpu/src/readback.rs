//! A ring of small buffers through which results travel to the host behind their steps.

use crate::device::Gpu;
use crate::error::GpuError;
use futures_channel::oneshot;

/// Results that may be under way at once.
pub const RING: usize = 8;
/// Bytes of one result at most.
const SLOT_BYTES: u64 = 128;

/// A result under way.
pub struct Ticket {
    slot: usize,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
}

pub struct Ring {
    slots: Vec<wgpu::Buffer>,
    free: Vec<usize>,
}

impl Ring {
    pub fn new(gpu: &Gpu) -> Ring {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let slots = (0..RING).map(|_| gpu.buffer("aloud.readback", SLOT_BYTES, usage)).collect();
        Ring { slots, free: (0..RING).rev().collect() }
    }

    /// Encodes the copy of a result's buffer behind what the encoder holds.
    pub fn copy(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        bytes: u64,
    ) -> Result<usize, GpuError> {
        let slot = self.free.pop().ok_or(GpuError::RingFull { limit: RING })?;
        encoder.copy_buffer_to_buffer(from, 0, &self.slots[slot], 0, bytes.min(SLOT_BYTES));
        Ok(slot)
    }

    /// Asks for the copy, once it was submitted.
    pub fn ticket(&self, gpu: &Gpu, slot: usize) -> Ticket {
        Ticket { slot, mapped: map(gpu, &self.slots[slot]) }
    }

    pub async fn read(&mut self, gpu: &Gpu, ticket: Ticket, out: &mut [u8]) -> Result<(), GpuError> {
        let buffer = &self.slots[ticket.slot];
        let arrived = arrived(gpu, ticket.mapped).await;
        if arrived.is_ok() {
            copy_out(buffer, out)?;
        }
        self.free.push(ticket.slot);
        arrived
    }
}

fn map(gpu: &Gpu, buffer: &wgpu::Buffer) -> oneshot::Receiver<Result<(), wgpu::BufferAsyncError>> {
    gpu.count_map();
    let (send, receive) = oneshot::channel();
    buffer.slice(..).map_async(wgpu::MapMode::Read, move |result| {
        // The receiver is gone when the reader gave up; nobody is left to tell.
        let _ = send.send(result);
    });
    receive
}

fn copy_out(buffer: &wgpu::Buffer, out: &mut [u8]) -> Result<(), GpuError> {
    let view = buffer.slice(..).get_mapped_range().map_err(|e| GpuError::Refused { reason: e.to_string() })?;
    out.copy_from_slice(&view[..out.len()]);
    drop(view);
    buffer.unmap();
    Ok(())
}

/// Waits for a mapping without blocking the device: the driver is asked again and again, with pauses that grow.
async fn arrived(gpu: &Gpu, mut mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>) -> Result<(), GpuError> {
    let lost = |e: String| GpuError::DeviceLost { reason: e };
    #[cfg(not(target_arch = "wasm32"))]
    {
        let mut pause = std::time::Duration::from_micros(20);
        loop {
            match mapped.try_recv() {
                Ok(Some(result)) => return result.map_err(|e| lost(e.to_string())),
                Ok(None) => gpu.poll()?,
                Err(e) => return Err(lost(e.to_string())),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(std::time::Duration::from_micros(500));
        }
    }
    #[cfg(target_arch = "wasm32")]
    {
        let result = (&mut mapped).await.map_err(|e| lost(e.to_string()))?;
        gpu.check()?;
        result.map_err(|e| lost(e.to_string()))
    }
}

/// Reads a whole buffer; waits for all work before.
pub async fn read_buffer(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, GpuError> {
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let staging = gpu.buffer("aloud.readback.whole", bytes, usage);
    let mut encoder = gpu.encoder();
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes.next_multiple_of(4));
    gpu.submit(encoder, web_time::Instant::now(), 0);
    let mapped = map(gpu, &staging);
    #[cfg(not(target_arch = "wasm32"))]
    gpu.wait()?;
    arrived(gpu, mapped).await?;
    let mut out = vec![0; bytes as usize];
    copy_out(&staging, &mut out)?;
    Ok(out)
}
