//! WGSL compute kernels as validated constants.
