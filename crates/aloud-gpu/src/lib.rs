//! Runs a Recording on one wgpu device.
