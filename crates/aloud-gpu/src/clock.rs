//! The device's own clock.

/// When a pass began and ended.
pub struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    tick_seconds: f64,
}

impl Clock {
    /// On a device that has timestamps.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("aloud.clock"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("aloud.clock"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Clock { queries, resolved, tick_seconds: f64::from(queue.get_timestamp_period()) * 1e-9 }
    }

    pub fn writes(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }

    /// Encodes the copy of both times into [`Self::resolved`].
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
    }

    /// Two u64, in ticks.
    pub fn resolved(&self) -> &wgpu::Buffer {
        &self.resolved
    }

    pub fn tick_seconds(&self) -> f64 {
        self.tick_seconds
    }
}
