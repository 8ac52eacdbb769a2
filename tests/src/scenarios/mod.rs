//! Recordings that run natively and in a browser.

pub mod drafts;
pub mod gqa;
pub mod mla;
pub mod mla_expanded;
